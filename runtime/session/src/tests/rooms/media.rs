//! Who is shown where, in which rung and with how much of the link.

use super::*;
