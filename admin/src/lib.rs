//! postern admin
