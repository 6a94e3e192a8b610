// Copies to a GPU for which nothing is waited, for backends/torch.rs.

#include <ATen/ATen.h>

#include "guarded.h"

extern "C" {

// By memory that the system does not move: a copy from any other waits until the GPU has done all that it
// was given. LibTorch keeps the memory until the copy is done.
char* ddim_upload(void** out, const void* host, std::int8_t device) {
  return guarded([&] {
    const at::Tensor pinned = static_cast<const at::Tensor*>(host)->pin_memory();
    const c10::Device place(c10::DeviceType::CUDA, device);
    *out = new at::Tensor(pinned.to(place, pinned.scalar_type(), true));
  });
}

} // extern "C"
