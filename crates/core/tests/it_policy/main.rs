//! Policy from outside: real tokens, real request bytes, and what comes of them.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod compile;
#[cfg(test)]
mod issuer;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod scopes;
