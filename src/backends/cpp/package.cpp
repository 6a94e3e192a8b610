// AOTInductor packages behind functions that C can call, for backends/package.rs.
//
// No exception leaves a function: each one returns what went wrong as text, which the caller gives
// back to ddim_message_free, or null.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include <ATen/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

using torch::inductor::AOTIModelPackageLoader;

namespace {

char* copy(const char* text) noexcept {
  const std::size_t size = std::strlen(text) + 1;
  char* memory = static_cast<char*>(std::malloc(size));
  return memory ? static_cast<char*>(std::memcpy(memory, text, size)) : nullptr;
}

// Without memory for the text of an error there is none for anything else.
char* said(const char* text) noexcept {
  char* message = copy(text);
  if (!message) std::abort();
  return message;
}

template <class Action>
char* guarded(Action action) noexcept {
  try {
    action();
    return nullptr;
  } catch (const c10::Error& error) {
    return said(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return said(error.what());
  } catch (...) {
    return said("an exception of no known kind");
  }
}

} // namespace

extern "C" {

void ddim_message_free(char* message) {
  std::free(message);
}

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
