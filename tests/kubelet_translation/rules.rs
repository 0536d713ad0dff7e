//! Rules of the translation that no recording holds.
