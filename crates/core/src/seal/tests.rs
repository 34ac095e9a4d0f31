//! Both modes, from both sides.

mod kit;
mod nested;
mod session;
mod vectors;
