// CUDA graphs for backends/replay.rs, by LibTorch's own class: it keeps the memory of a capture apart.
//
// This program links none of LibTorch's CUDA half, which is loaded at run time if at all, so the class's
// functions are looked up by name there.

#include <dlfcn.h>

#include <memory>
#include <utility>

#include <c10/core/DeviceType.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "guarded.h"

namespace {

// at::cuda::CUDAGraph as functions of its address.
struct Class {
  void (*make)(void*, bool);
  void (*begin)(void*, std::pair<unsigned long long, unsigned long long>, int);
  void (*end)(void*);
  void (*replay)(void*);
  void (*remove)(void*);
};

template <class Function>
void find(Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  TORCH_CHECK(function, "LibTorch has no ", name);
}

const Class& graphs() {
  static const Class found = [] {
    Class c;
    find(c.make, "_ZN2at4cuda9CUDAGraphC1Eb");
    find(c.begin, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode");
    find(c.end, "_ZN2at4cuda9CUDAGraph11capture_endEv");
    find(c.replay, "_ZN2at4cuda9CUDAGraph6replayEv");
    find(c.remove, "_ZN2at4cuda9CUDAGraphD1Ev");
    return c;
  }();
  return found;
}

c10::impl::VirtualGuardImpl cuda() {
  return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA);
}

struct Graph {
  // The object itself takes some 200 bytes.
  alignas(64) unsigned char object[4096];

  Graph() {
    graphs().make(object, false);
  }
  ~Graph() {
    graphs().remove(object);
  }
};

// Work goes to a stream of its own while one of these lives: what is captured must not be on the default one.
struct Aside {
  c10::Stream before;

  Aside() : before(cuda().getStream(cuda().getDevice())) {
    const auto guard = cuda();
    static const c10::Stream stream = guard.getStreamFromGlobalPool(guard.getDevice(), false);
    guard.synchronizeStream(before);
    guard.exchangeStream(stream);
  }
  ~Aside() {
    const auto guard = cuda();
    const c10::Stream used = guard.exchangeStream(before);
    try {
      guard.synchronizeStream(used);
    } catch (...) {
      // The next operation says what is wrong.
    }
  }
};

using Work = char* (*)(void*);

// What Rust says of a failure.
void perform(Work work, void* context) {
  char* message = work(context);
  if (message) {
    const std::string text = message;
    std::free(message);
    TORCH_CHECK(false, text);
  }
}

} // namespace

extern "C" {

// Does the work once to be ready for it, and once more to record it.
char* ddim_graph_capture(void** graph, Work work, void* context) {
  return guarded([&] {
    auto made = std::make_unique<Graph>();
    const Aside aside;
    perform(work, context);
    cuda().synchronizeStream(cuda().getStream(cuda().getDevice()));
    constexpr int thread_local_mode = 1;
    graphs().begin(made->object, {0, 0}, thread_local_mode);
    try {
      perform(work, context);
    } catch (...) {
      try {
        graphs().end(made->object);
      } catch (...) {
        // It was not completed.
      }
      throw;
    }
    graphs().end(made->object);
    *graph = made.release();
  });
}

char* ddim_graph_replay(void* graph) {
  return guarded([&] { graphs().replay(static_cast<Graph*>(graph)->object); });
}

char* ddim_graph_free(void* graph) {
  return guarded([&] { delete static_cast<Graph*>(graph); });
}

} // extern "C"
