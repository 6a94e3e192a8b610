//! image_grid
