//! unet_config
