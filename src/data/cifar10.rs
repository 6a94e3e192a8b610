//! cifar10
