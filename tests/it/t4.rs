//! t4
mod architecture;
mod cli;
