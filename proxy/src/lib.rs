//! postern proxy
