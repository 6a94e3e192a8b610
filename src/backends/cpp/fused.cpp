// Operations that make one pass where LibTorch makes several, for backends/fused.
//
// On CUDA a kernel is launched by Rust, which compiled it; on the CPU its text runs as C++, slowly.

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/torch.h>

#include "guarded.h"
#include "kernels.cu"

using at::Tensor;

namespace {

// Of a block, as the kernels' launch bounds have it.
constexpr std::int64_t most_threads = 256;

// Queues a kernel on a stream: its name, its parameters, the number of blocks, their threads and shared
// bytes. Returns what went wrong as text to be freed, or null.
using Launch = char* (*)(void*, const char*, const void*, std::uint32_t, std::uint32_t, std::uint32_t);
Launch launch_on_cuda = nullptr;

const char* suffix(const Tensor& x) {
  return x.scalar_type() == at::kFloat ? "_float" : "_bf16";
}

int lanes_of(const Tensor& x) {
  return x.scalar_type() == at::kFloat ? 4 : 8;
}

void launch(const char* name, const Tensor& like, const void* parameters, std::int64_t blocks, std::int64_t threads, std::int64_t shared) {
  TORCH_CHECK(launch_on_cuda, "the kernels were not compiled");
  TORCH_CHECK(blocks <= INT32_MAX, "too many blocks");
  const std::string kernel = std::string(name) + suffix(like);
  const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
  void* stream = cuda.getStreamNativeHandle(cuda.getStream(like.device()));
  char* message = launch_on_cuda(stream, kernel.c_str(), parameters, blocks, threads, shared);
  if (message) {
    const std::string text = message;
    std::free(message);
    TORCH_CHECK(false, text);
  }
}

// The same values where words begin: a view of many weights in one vector may begin anywhere.
Tensor aligned(const Tensor& x) {
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0 ? x : x.clone();
}

// The same values channels-last: no copy where they are so already, as they should be.
Tensor dense(const Tensor& x) {
  TORCH_CHECK(x.dim() == 4, "images have four axes, not ", x.dim());
  TORCH_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16, "images are f32 or bf16");
  return aligned(x.contiguous(at::MemoryFormat::ChannelsLast));
}

std::optional<Tensor> dense(const std::optional<Tensor>& x) {
  return x ? std::optional(dense(*x)) : std::nullopt;
}

const void* data(const std::optional<Tensor>& x) {
  return x ? x->const_data_ptr() : nullptr;
}

// The address of what a kernel takes word by word, which a GPU refuses where no word begins.
const void* words(const Tensor& x) {
  TORCH_CHECK(reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0, "no word begins there");
  return x.const_data_ptr();
}

const void* words(const std::optional<Tensor>& x) {
  return x ? words(*x) : nullptr;
}

// The parts of the channels that hold whole groups and whole words of that many lanes, and for which a
// block has enough threads; from the smallest.
std::vector<std::int64_t> chunks_of(std::int64_t channels, std::int64_t groups, std::int64_t lanes) {
  std::vector<std::int64_t> fit;
  if (groups <= 0 || channels <= 0 || channels % groups != 0) return fit;
  const std::int64_t unit = std::lcm(channels / groups, lanes);
  for (std::int64_t chunk = unit; chunk <= std::min(channels, most_threads * lanes); chunk += unit) {
    if (channels % chunk == 0) fit.push_back(chunk);
  }
  return fit;
}

// The channels that a block normalises: wide enough for memory and small enough for the cache that is to
// keep them from the first reading to the second.
std::int64_t chunk_of(std::int64_t images, std::int64_t pixels, std::int64_t channels, std::int64_t groups, std::int64_t lanes) {
  constexpr std::int64_t most_bytes = 1 << 16, sector = 32, enough_blocks = 264;
  const std::int64_t bytes = 16 / lanes;
  const std::vector<std::int64_t> fit = chunks_of(channels, groups, lanes);
  TORCH_CHECK(!fit.empty(), "no part of ", channels, " channels holds whole groups and whole words");
  std::int64_t best = fit.front();
  for (const std::int64_t chunk : fit) {
    const bool wide = best * bytes >= 2 * sector && best * bytes % sector == 0;
    const bool small = pixels * chunk * bytes <= most_bytes;
    const bool many = images * (channels / chunk) >= enough_blocks;
    if (!wide || (small && many)) best = chunk;
  }
  return best;
}

struct Shape {
  std::int64_t blocks, threads;
};

// Completes the parameters that both directions share.
Shape shape(Norm& k, const Tensor& x, std::int64_t channels, std::int64_t groups) {
  k.images = x.size(0);
  k.pixels = x.size(2) * x.size(3);
  k.channels = channels;
  k.groups = groups;
  const std::int64_t lanes = lanes_of(x);
  k.chunk = chunk_of(k.images, k.pixels, channels, groups, lanes);
  const std::int64_t columns = k.chunk / lanes;
  k.rows = std::max<std::int64_t>(1, std::min<std::int64_t>(k.pixels, most_threads / columns));
  return {k.images * (channels / k.chunk), columns * k.rows};
}

void on_host(void (*kernel)(const Norm&, const Block&, float*), const Norm& k, Shape shape, std::size_t floats) {
  std::vector<float> shared(floats);
  const int chunks = int(k.channels / k.chunk);
  for (int b = 0; b < shape.blocks; ++b) {
    kernel(k, {b / chunks, b % chunks, int(shape.threads)}, shared.data());
  }
}

// Runs a kernel of one word a thread, for `like` and every other value of `count`.
template <class Parameters>
void for_words(const char* name, const Tensor& like, const Parameters& k, std::int64_t count, void (*in_f32)(const Parameters&, int64), void (*in_bf16)(const Parameters&, int64)) {
  const std::int64_t words = count / lanes_of(like);
  TORCH_CHECK(words <= UINT32_MAX, "too many values");
  if (words == 0) return;
  if (like.is_cuda()) return launch(name, like, &k, (words + 255) / 256, 256, 0);
  const auto kernel = like.scalar_type() == at::kFloat ? in_f32 : in_bf16;
  for (std::int64_t i = 0; i < words; ++i) kernel(k, i);
}

void check_bias(const std::optional<Tensor>& bias, const Tensor& like, std::int64_t channels) {
  TORCH_CHECK(channels % lanes_of(like) == 0, "channels do not fill words");
  TORCH_CHECK(!bias || (bias->is_contiguous() && bias->numel() == channels && bias->scalar_type() == like.scalar_type()), "a bias does not fit");
}

// The gradient of what is added to every pixel.
Tensor over_pixels(const Tensor& gradient) {
  return gradient.sum({0, 2, 3});
}

// What is done to the normalised values, and what is added before.
struct Options {
  std::int64_t groups;
  double eps;
  bool silu;
  std::optional<Tensor> keys;
  std::uint32_t threshold;
  double factor;
};

// One tensor, or two side by side, channels-last.
struct Parts {
  Tensor first;
  std::optional<Tensor> second;

  std::int64_t channels() const {
    return first.size(1) + (second ? second->size(1) : 0);
  }

  Tensor empty_like(std::int64_t channels) const {
    return at::empty({first.size(0), channels, first.size(2), first.size(3)}, first.options(), at::MemoryFormat::ChannelsLast);
  }
};

// The parameters that both directions have, and the shape of their blocks.
Shape complete(Norm& k, const Parts& x, const std::optional<Tensor>& added, const Tensor& weight, const Tensor& bias, const Options& options) {
  const Shape shape = ::shape(k, x.first, x.channels(), options.groups);
  k.first = words(x.first);
  k.second = words(x.second);
  k.first_channels = x.first.size(1);
  k.added = data(added);
  k.added_stride = !added || added->size(0) == 1 ? 0 : added->stride(0);
  k.weight = weight.const_data_ptr();
  k.bias = bias.const_data_ptr();
  k.silu = options.silu;
  k.eps = float(options.eps);
  k.keys = options.keys ? static_cast<const unsigned*>(options.keys->const_data_ptr()) : nullptr;
  k.threshold = options.threshold;
  k.factor = float(options.factor);
  return shape;
}

void check(const Parts& x, const std::optional<Tensor>& added, const Tensor& weight, const Tensor& bias, const Options& options) {
  const Tensor& first = x.first;
  const std::int64_t channels = x.channels();
  for (const Tensor* part : {&first, x.second ? &*x.second : &first}) {
    TORCH_CHECK(part->scalar_type() == weight.scalar_type(), "weights have the type of the images");
    TORCH_CHECK(part->size(0) == first.size(0) && part->size(2) == first.size(2) && part->size(3) == first.size(3), "parts differ");
    TORCH_CHECK(part->size(1) % lanes_of(first) == 0, "channels do not fill words");
  }
  for (const Tensor* part : {&weight, &bias}) {
    TORCH_CHECK(part->is_contiguous() && part->numel() == channels && part->scalar_type() == first.scalar_type(), "weights do not fit");
  }
  TORCH_CHECK(options.groups > 0 && channels % options.groups == 0, "groups do not divide the channels");
  if (added) {
    TORCH_CHECK(added->dim() == 2 && added->size(1) == channels && added->stride(1) == 1 && added->scalar_type() == first.scalar_type(), "what is added does not fit");
    TORCH_CHECK(added->size(0) == 1 || added->size(0) == first.size(0), "what is added has other images");
  }
  if (options.keys) {
    TORCH_CHECK(options.keys->is_contiguous() && options.keys->numel() == first.size(0) && options.keys->scalar_type() == at::kInt, "keys do not fit");
  }
}

// The result, mean and 1 / sqrt(variance + eps) of each image's groups.
struct Normalised {
  Tensor out, mean, inverse;
};

Normalised normalise(const Parts& x, const std::optional<Tensor>& added, const Tensor& weight, const Tensor& bias, const Options& options, bool keep) {
  check(x, added, weight, bias, options);
  Normalised done;
  done.out = x.empty_like(x.channels());
  if (keep) {
    done.mean = at::empty({x.first.size(0), options.groups}, x.first.options().dtype(at::kFloat));
    done.inverse = at::empty_like(done.mean);
  }
  if (done.out.numel() == 0) return done;
  Norm k{};
  const Shape shape = complete(k, x, added, weight, bias, options);
  k.out = done.out.mutable_data_ptr();
  k.mean = keep ? done.mean.mutable_data_ptr<float>() : nullptr;
  k.inverse = keep ? done.inverse.mutable_data_ptr<float>() : nullptr;
  const std::int64_t floats = 2 * k.rows * k.chunk + 2 * k.chunk / (k.channels / k.groups);
  if (x.first.is_cuda()) {
    launch("norm_forward", x.first, &k, shape.blocks, shape.threads, floats * 4);
  } else {
    on_host(x.first.scalar_type() == at::kFloat ? norm_forward<float> : norm_forward<bf16>, k, shape, floats);
  }
  return done;
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::optional<Tensor> defined(const Tensor& x) {
  return x.defined() ? std::optional(x) : std::nullopt;
}

struct NormFunction : torch::autograd::Function<NormFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& first, const std::optional<Tensor>& second, const std::optional<Tensor>& added, const Tensor& weight, const Tensor& bias, const Options& options) {
    Normalised done = normalise({first, second}, added, weight, bias, options, true);
    context->save_for_backward({first, second.value_or(Tensor()), added.value_or(Tensor()), weight, bias, done.mean, done.inverse, options.keys.value_or(Tensor())});
    context->saved_data["groups"] = options.groups;
    context->saved_data["eps"] = options.eps;
    context->saved_data["silu"] = options.silu;
    context->saved_data["threshold"] = std::int64_t(options.threshold);
    context->saved_data["factor"] = options.factor;
    return done.out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const Parts x = {saved[0], defined(saved[1])};
    const auto added = defined(saved[2]);
    const Tensor &weight = saved[3], &bias = saved[4], &mean = saved[5], &inverse = saved[6];
    auto& kept = context->saved_data;
    const Options options = {
        kept["groups"].toInt(), kept["eps"].toDouble(), kept["silu"].toBool(), defined(saved[7]),
        std::uint32_t(kept["threshold"].toInt()), kept["factor"].toDouble()};
    const Tensor gradient = dense(gradients[0]);
    Norm k{};
    const Shape shape = complete(k, x, added, weight, bias, options);
    const Tensor first = x.empty_like(x.first.size(1));
    const Tensor second = x.second ? x.empty_like(x.second->size(1)) : Tensor();
    const Tensor weights = at::empty({k.images, k.channels}, mean.options());
    const Tensor biases = at::empty_like(weights);
    Tensor of_added;
    if (added) {
      of_added = at::empty({k.images, k.channels}, x.first.options());
      k.added_gradient = of_added.mutable_data_ptr();
    }
    k.mean = mean.mutable_data_ptr<float>();
    k.inverse = inverse.mutable_data_ptr<float>();
    k.gradient = words(gradient);
    k.out = first.mutable_data_ptr();
    k.out_second = x.second ? second.mutable_data_ptr() : nullptr;
    k.weight_gradient = weights.mutable_data_ptr<float>();
    k.bias_gradient = biases.mutable_data_ptr<float>();
    const std::int64_t floats = 3 * k.rows * k.chunk + 2 * k.chunk / (k.channels / k.groups);
    if (x.first.is_cuda()) {
      launch("norm_backward", x.first, &k, shape.blocks, shape.threads, floats * 4);
    } else {
      on_host(x.first.scalar_type() == at::kFloat ? norm_backward<float> : norm_backward<bf16>, k, shape, floats);
    }
    if (added && added->size(0) == 1) of_added = of_added.sum(0, true);
    const auto summed = [&](const Tensor& by_image) { return by_image.sum(0).to(weight.scalar_type()); };
    return {first, second, of_added, summed(weights), summed(biases), Tensor()};
  }
};

// The result is in the memory of x.
Tensor add_up(const Tensor& x, const std::optional<Tensor>& bias, const std::optional<Tensor>& first, const std::optional<Tensor>& second) {
  const Tensor& sum = x;
  const std::optional<Tensor> terms[] = {dense(first), dense(second)};
  check_bias(bias, sum, sum.size(1));
  const auto constant = bias ? std::optional(aligned(*bias)) : std::nullopt;
  for (const auto& term : terms) {
    TORCH_CHECK(!term || (term->sizes() == sum.sizes() && term->scalar_type() == sum.scalar_type()), "terms differ");
  }
  const Add k = {sum.mutable_data_ptr(), words(constant), words(terms[0]), words(terms[1]), sum.numel(), sum.size(1)};
  for_words<Add>("add", sum, k, sum.numel(), add<float>, add<bf16>);
  return sum;
}

struct AddFunction : torch::autograd::Function<AddFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const std::optional<Tensor>& bias, const std::optional<Tensor>& first, const std::optional<Tensor>& second) {
    context->saved_data["bias"] = bias.has_value();
    context->saved_data["first"] = first.has_value();
    context->saved_data["second"] = second.has_value();
    // What made x does not need it for its own gradient: a convolution.
    context->mark_dirty({x});
    return add_up(x, bias, first, second);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor& gradient = gradients[0];
    const auto had = [&](const char* input) { return context->saved_data[input].toBool(); };
    return {
        gradient, had("bias") ? over_pixels(gradient) : Tensor(), had("first") ? gradient : Tensor(),
        had("second") ? gradient : Tensor()};
  }
};

Tensor interleaved(const Tensor& x, const std::optional<Tensor>& bias) {
  const std::int64_t channels = x.size(1) / 4, height = x.size(2) - 1, width = x.size(3) - 1;
  TORCH_CHECK(x.size(1) % 4 == 0, "there are four outputs of a pixel");
  check_bias(bias, x, channels);
  const auto constant = bias ? std::optional(aligned(*bias)) : std::nullopt;
  const Tensor y = at::empty({x.size(0), channels, 2 * height, 2 * width}, x.options(), at::MemoryFormat::ChannelsLast);
  const Interleave k = {y.mutable_data_ptr(), words(x), words(constant), x.size(0), height, width, channels};
  for_words<Interleave>("interleave", x, k, y.numel(), interleave<float>, interleave<bf16>);
  return y;
}

struct InterleaveFunction : torch::autograd::Function<InterleaveFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const std::optional<Tensor>& bias) {
    context->saved_data["bias"] = bias.has_value();
    return interleaved(x, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor y = dense(gradients[0]);
    const std::int64_t channels = y.size(1), height = y.size(2) / 2, width = y.size(3) / 2;
    const Tensor x = at::empty({y.size(0), 4 * channels, height + 1, width + 1}, y.options(), at::MemoryFormat::ChannelsLast);
    const Interleave k = {x.mutable_data_ptr(), words(y), nullptr, y.size(0), height, width, channels};
    for_words<Interleave>("separate", y, k, x.numel(), separate<float>, separate<bf16>);
    const bool bias = context->saved_data["bias"].toBool();
    return {x, bias ? over_pixels(y) : Tensor()};
  }
};

std::optional<Tensor> maybe(const void* x) {
  return x ? std::optional(*static_cast<const Tensor*>(x)) : std::nullopt;
}

bool differentiated(std::initializer_list<const void*> inputs) {
  const auto wanted = [](const void* x) { return x && static_cast<const Tensor*>(x)->requires_grad(); };
  return at::GradMode::is_enabled() && std::any_of(inputs.begin(), inputs.end(), wanted);
}

} // namespace

extern "C" {

void ddim_fused_set_launch(Launch launch) {
  launch_on_cuda = launch;
}

bool ddim_fused_fits(std::int64_t channels, std::int64_t groups, std::int64_t lanes) {
  return !chunks_of(channels, groups, lanes).empty();
}

// SiLU(group_norm(x + added)), x being one tensor or two side by side; `keys` are int32 bits of dropout.
char* ddim_fused_norm(void** out, const void* first, const void* second, const void* added, const void* weight, const void* bias, std::int64_t groups, double eps, bool silu, const void* keys, std::uint32_t threshold, double factor) {
  return guarded([&] {
    const Parts x = {dense(*static_cast<const Tensor*>(first)), dense(maybe(second))};
    const auto &w = *static_cast<const Tensor*>(weight), &b = *static_cast<const Tensor*>(bias);
    const Options options = {groups, eps, silu, maybe(keys), threshold, factor};
    *out = new Tensor(
        differentiated({first, second, added, weight, bias})
            ? NormFunction::apply(x.first, x.second, maybe(added), w, b, options)
            : normalise(x, maybe(added), w, b, options, false).out);
  });
}

// x + bias + first + second in the memory of x, all but x maybe null.
char* ddim_fused_add(void** out, const void* x, const void* bias, const void* first, const void* second) {
  return guarded([&] {
    const Tensor sum = dense(*static_cast<const Tensor*>(x));
    *out = new Tensor(
        differentiated({x, bias, first, second})
            ? AddFunction::apply(sum, maybe(bias), maybe(first), maybe(second))
            : add_up(sum, maybe(bias), maybe(first), maybe(second)));
  });
}

// [N, 4 C, H + 1, W + 1] to [N, C, 2 H, 2 W], plus a bias that may be null.
char* ddim_fused_interleave(void** out, const void* phases, const void* bias) {
  return guarded([&] {
    const Tensor x = dense(*static_cast<const Tensor*>(phases));
    *out = new Tensor(
        differentiated({phases, bias}) ? InterleaveFunction::apply(x, maybe(bias)) : interleaved(x, maybe(bias)));
  });
}

} // extern "C"
