//! Tests that attach the layer to real servers.
