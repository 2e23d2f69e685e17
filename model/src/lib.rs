//! postern model
