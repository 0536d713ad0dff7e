//! Wires everything up and runs it.
