//! What the rows tell: a page of deliveries, and the whole life of one.

pub(crate) mod list;
pub(crate) mod params;
pub(crate) mod state;
pub(crate) mod trace;
