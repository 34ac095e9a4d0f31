//! The pure part against what others published: examples of the RFCs, and test vectors.

#[cfg(test)]
mod rfc;
#[cfg(test)]
mod vectors;
