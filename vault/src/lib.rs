//! postern vault
