//! What a sampler needs of a tensor.
