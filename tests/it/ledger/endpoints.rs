//! What endpoints admit, and that each admitted event is somewhere.
