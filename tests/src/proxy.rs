//! A network that misbehaves.
