// AOTInductor packages behind functions that C can call, for backends/package.rs.

#include <cstdint>
#include <vector>

#include <ATen/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include "guarded.h"

using torch::inductor::AOTIModelPackageLoader;

extern "C" {

// Unpacks a package and loads its code. Device: -1 for the CPU, the index of a CUDA device otherwise.
char* ddim_package_open(const char* path, std::int8_t device, void** package) {
  return guarded([&] {
    *package = new AOTIModelPackageLoader(path, "model", false, 1, device);
  });
}

// Runs it: two tensors in, one out, which is the caller's.
char* ddim_package_run(
    void* package,
    const void* images,
    const void* timesteps,
    void** out) {
  return guarded([&] {
    const at::NoGradGuard no_grad;
    const std::vector<at::Tensor> inputs = {
        *static_cast<const at::Tensor*>(images), *static_cast<const at::Tensor*>(timesteps)};
    std::vector<at::Tensor> outputs = static_cast<AOTIModelPackageLoader*>(package)->run(inputs);
    TORCH_CHECK(outputs.size() == 1, "it returned ", outputs.size(), " tensors, not one");
    *out = new at::Tensor(std::move(outputs[0]));
  });
}

// Unloads the code and removes what was unpacked.
char* ddim_package_close(void* package) {
  return guarded([&] { delete static_cast<AOTIModelPackageLoader*>(package); });
}

} // extern "C"
