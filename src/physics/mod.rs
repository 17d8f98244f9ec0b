//! Observables of an image.
