//! What becomes of a notice, replayed by the commands officers give over a network of six agencies: read, acted upon,
//! declined, answered, corrected and withdrawn, until every holder has purged it or is listed as outstanding; and what the
//! clock does when nobody does anything.

mod case;
mod following;
mod officers;
mod times;
