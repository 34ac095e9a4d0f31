//! The agent against parties on loopback that behave as a test wants: what it sends, and above all what it does not.
// `cfg(test)` always holds here; it tells clippy that the helpers are tests too.

#[cfg(test)]
mod gateway;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod parties;
#[cfg(test)]
mod refreshes;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod sealed;
#[cfg(test)]
mod stage;
