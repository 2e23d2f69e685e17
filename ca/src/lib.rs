//! postern ca
