// Operations that make one pass where LibTorch makes several, for backends/fused.
//
// On CUDA a kernel is launched by Rust, which compiled it; on the CPU its text runs as C++, slowly.

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include <torch/csrc/autograd/custom_function.h>
#include <torch/torch.h>

#include "guarded.h"
#include "kernels.cu"

using at::Tensor;

namespace {

// Of a block, as the kernels' launch bounds have it.
constexpr std::int64_t most_threads = 256;

// Queues a kernel: its name, its parameters, the number of blocks, their threads and shared bytes.
// Returns what went wrong as text to be freed, or null.
using Launch = char* (*)(const char*, const void*, std::uint32_t, std::uint32_t, std::uint32_t);
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
  char* message = launch_on_cuda(kernel.c_str(), parameters, blocks, threads, shared);
  if (message) {
    const std::string text = message;
    std::free(message);
    TORCH_CHECK(false, text);
  }
}

// The same values channels-last: no copy where they are so already, as they should be.
Tensor dense(const Tensor& x) {
  TORCH_CHECK(x.dim() == 4, "images have four axes, not ", x.dim());
  TORCH_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16, "images are f32 or bf16");
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

std::optional<Tensor> dense(const std::optional<Tensor>& x) {
  return x ? std::optional(dense(*x)) : std::nullopt;
}

const void* data(const std::optional<Tensor>& x) {
  return x ? x->const_data_ptr() : nullptr;
}

// The channels that a block normalises: whole groups and whole words, wide enough for memory and small
// enough for the cache that is to keep them from the first reading to the second.
std::int64_t chunk_of(std::int64_t images, std::int64_t pixels, std::int64_t channels, std::int64_t groups, std::int64_t bytes) {
  constexpr std::int64_t most_bytes = 1 << 16, sector = 32, enough_blocks = 264;
  const std::int64_t unit = std::lcm(channels / groups, 16 / bytes);
  std::vector<std::int64_t> fit;
  for (std::int64_t chunk = unit; chunk <= std::min(channels, most_threads * 16 / bytes); chunk += unit) {
    if (channels % chunk == 0) fit.push_back(chunk);
  }
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
  k.chunk = chunk_of(k.images, k.pixels, channels, groups, 16 / lanes);
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

// What is done to the normalised values, and what is added before.
struct Options {
  std::int64_t groups;
  double eps;
  bool silu;
  std::optional<Tensor> keys;
  std::uint32_t threshold;
  double factor;
};

void complete(Norm& k, const Options& options) {
  k.silu = options.silu;
  k.eps = float(options.eps);
  k.keys = options.keys ? static_cast<const unsigned*>(options.keys->const_data_ptr()) : nullptr;
  k.threshold = options.threshold;
  k.factor = float(options.factor);
}

void set_added(Norm& k, const std::optional<Tensor>& added) {
  k.added = data(added);
  if (added) {
    TORCH_CHECK(added->dim() == 2 && added->size(1) == k.channels && added->stride(1) == 1);
    TORCH_CHECK(added->size(0) == 1 || added->size(0) == k.images);
    k.added_stride = added->size(0) == 1 ? 0 : added->stride(0);
  }
}

// The result, mean and 1 / sqrt(variance + eps) of each image's groups.
struct Normalised {
  Tensor out, mean, inverse;
};

Normalised forward(const Tensor& first, const std::optional<Tensor>& second, const std::optional<Tensor>& added, const Tensor& weight, const Tensor& bias, const Options& options, bool keep) {
  const std::int64_t channels = first.size(1) + (second ? second->size(1) : 0);
  for (const Tensor* x : {&first, second ? &*second : &first}) {
    TORCH_CHECK(x->scalar_type() == weight.scalar_type(), "weights have the type of the images");
    TORCH_CHECK(x->size(0) == first.size(0) && x->size(2) == first.size(2) && x->size(3) == first.size(3));
    TORCH_CHECK(x->size(1) % lanes_of(first) == 0);
  }
  TORCH_CHECK(weight.is_contiguous() && bias.is_contiguous() && weight.numel() == channels && bias.numel() == channels);
  TORCH_CHECK(channels % options.groups == 0);
  Normalised done;
  done.out = at::empty({first.size(0), channels, first.size(2), first.size(3)}, first.options(), at::MemoryFormat::ChannelsLast);
  if (keep) {
    done.mean = at::empty({first.size(0), options.groups}, first.options().dtype(at::kFloat));
    done.inverse = at::empty_like(done.mean);
  }
  if (done.out.numel() == 0) return done;
  Norm k{};
  const Shape shape = ::shape(k, first, channels, options.groups);
  k.first = first.const_data_ptr();
  k.second = data(second);
  k.first_channels = first.size(1);
  set_added(k, added);
  complete(k, options);
  k.weight = weight.const_data_ptr();
  k.bias = bias.const_data_ptr();
  k.out = done.out.mutable_data_ptr();
  k.mean = keep ? done.mean.mutable_data_ptr<float>() : nullptr;
  k.inverse = keep ? done.inverse.mutable_data_ptr<float>() : nullptr;
  const std::int64_t floats = 2 * k.rows * k.chunk + 2 * k.chunk / (channels / options.groups);
  if (first.is_cuda()) {
    launch("norm_forward", first, &k, shape.blocks, shape.threads, floats * 4);
  } else if (first.scalar_type() == at::kFloat) {
    on_host(norm_forward<float>, k, shape, floats);
  } else {
    on_host(norm_forward<bf16>, k, shape, floats);
  }
  return done;
}

struct NormFunction : torch::autograd::Function<NormFunction> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const std::optional<Tensor>& added, const Tensor& weight, const Tensor& bias, const Options& options) {
    Normalised done = ::forward(x, std::nullopt, added, weight, bias, options, true);
    context->save_for_backward({x, added.value_or(Tensor()), weight, bias, done.mean, done.inverse, options.keys.value_or(Tensor())});
    context->saved_data["groups"] = options.groups;
    context->saved_data["eps"] = options.eps;
    context->saved_data["silu"] = options.silu;
    context->saved_data["threshold"] = std::int64_t(options.threshold);
    context->saved_data["factor"] = options.factor;
    return done.out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &added = saved[1], &weight = saved[2], &bias = saved[3], &mean = saved[4], &inverse = saved[5];
    const auto& data = context->saved_data;
    const Options options = {
        data.at("groups").toInt(), data.at("eps").toDouble(), data.at("silu").toBool(),
        saved[6].defined() ? std::optional(saved[6]) : std::nullopt,
        std::uint32_t(data.at("threshold").toInt()), data.at("factor").toDouble()};
    const Tensor gradient = dense(gradients[0]);
    Norm k{};
    const Shape shape = ::shape(k, x, x.size(1), options.groups);
    const Tensor out = at::empty_like(gradient);
    const Tensor weights = at::empty({k.images, k.channels}, mean.options());
    const Tensor biases = at::empty_like(weights);
    Tensor added_gradient;
    k.first = x.const_data_ptr();
    k.first_channels = k.channels;
    if (added.defined()) {
      set_added(k, added);
      added_gradient = at::empty({k.images, k.channels}, x.options());
      k.added_gradient = added_gradient.mutable_data_ptr();
    }
    complete(k, options);
    k.weight = weight.const_data_ptr();
    k.bias = bias.const_data_ptr();
    k.mean = mean.mutable_data_ptr<float>();
    k.inverse = inverse.mutable_data_ptr<float>();
    k.gradient = gradient.const_data_ptr();
    k.out = out.mutable_data_ptr();
    k.weight_gradient = weights.mutable_data_ptr<float>();
    k.bias_gradient = biases.mutable_data_ptr<float>();
    const std::int64_t floats = 3 * k.rows * k.chunk + 2 * k.chunk / (k.channels / k.groups);
    if (x.is_cuda()) {
      launch("norm_backward", x, &k, shape.blocks, shape.threads, floats * 4);
    } else if (x.scalar_type() == at::kFloat) {
      on_host(norm_backward<float>, k, shape, floats);
    } else {
      on_host(norm_backward<bf16>, k, shape, floats);
    }
    const bool shared = added.defined() && added.size(0) == 1;
    if (shared) added_gradient = added_gradient.sum(0, true);
    return {out, added_gradient, weights.sum(0).to(weight.scalar_type()), biases.sum(0).to(bias.scalar_type()), Tensor()};
  }
};

std::optional<Tensor> maybe(const void* x) {
  return x ? std::optional(*static_cast<const Tensor*>(x)) : std::nullopt;
}

} // namespace

extern "C" {

void ddim_fused_set_launch(Launch launch) {
  launch_on_cuda = launch;
}

// SiLU(group_norm(x + added)), x being one tensor or two side by side; `keys` are int32 bits of dropout.
char* ddim_fused_norm(void** out, const void* first, const void* second, const void* added, const void* weight, const void* bias, std::int64_t groups, double eps, bool silu, const void* keys, std::uint32_t threshold, double factor) {
  return guarded([&] {
    const Tensor x = dense(*static_cast<const Tensor*>(first));
    const auto &w = *static_cast<const Tensor*>(weight), &b = *static_cast<const Tensor*>(bias);
    const Options options = {groups, eps, silu, maybe(keys), threshold, factor};
    const bool differentiated = at::GradMode::is_enabled() &&
        (x.requires_grad() || w.requires_grad() || (added && maybe(added)->requires_grad()));
    if (differentiated) {
      TORCH_CHECK(!second, "two tensors side by side are not differentiated");
      *out = new Tensor(NormFunction::apply(x, maybe(added), w, b, options));
    } else {
      *out = new Tensor(forward(x, dense(maybe(second)), maybe(added), w, b, options, false).out);
    }
  });
}

// x + bias + first + second in the memory of x, all but x maybe null; not differentiated.
char* ddim_fused_add(void** out, const void* x, const void* bias, const void* first, const void* second) {
  return guarded([&] {
    const Tensor sum = dense(*static_cast<const Tensor*>(x));
    const std::optional<Tensor> terms[] = {dense(maybe(first)), dense(maybe(second))};
    TORCH_CHECK(sum.size(1) % lanes_of(sum) == 0, "channels do not fill words");
    for (const auto& term : terms) {
      TORCH_CHECK(!term || (term->sizes() == sum.sizes() && term->scalar_type() == sum.scalar_type()), "terms differ");
    }
    const auto constant = maybe(bias);
    TORCH_CHECK(!constant || (constant->is_contiguous() && constant->numel() == sum.size(1) && constant->scalar_type() == sum.scalar_type()), "a bias does not fit");
    const Add k = {sum.mutable_data_ptr(), data(constant), data(terms[0]), data(terms[1]), sum.numel(), sum.size(1)};
    const std::int64_t words = k.count / lanes_of(sum);
    TORCH_CHECK(words <= UINT32_MAX, "too many values");
    if (words > 0 && sum.is_cuda()) {
      launch("add", sum, &k, (words + 255) / 256, 256, 0);
    } else {
      for (std::int64_t i = 0; i < words; ++i) {
        if (sum.scalar_type() == at::kFloat) add<float>(k, i);
        else add<bf16>(k, i);
      }
    }
    *out = new Tensor(sum);
  });
}

// [N, 4 C, H + 1, W + 1] to [N, C, 2 H, 2 W], plus a bias that may be null; not differentiated.
char* ddim_fused_interleave(void** out, const void* phases, const void* bias) {
  return guarded([&] {
    const Tensor x = dense(*static_cast<const Tensor*>(phases));
    TORCH_CHECK(x.size(1) % (4 * lanes_of(x)) == 0, "channels do not fill words");
    const auto constant = maybe(bias);
    const std::int64_t channels = x.size(1) / 4;
    TORCH_CHECK(!constant || (constant->is_contiguous() && constant->numel() == channels && constant->scalar_type() == x.scalar_type()), "a bias does not fit");
    const std::int64_t height = x.size(2) - 1, width = x.size(3) - 1;
    const Tensor y = at::empty({x.size(0), channels, 2 * height, 2 * width}, x.options(), at::MemoryFormat::ChannelsLast);
    const Interleave k = {y.mutable_data_ptr(), x.const_data_ptr(), data(constant), x.size(0), height, width, channels};
    const std::int64_t words = y.numel() / lanes_of(x);
    TORCH_CHECK(y.numel() / channels <= UINT32_MAX, "too many pixels");
    if (words > 0 && x.is_cuda()) {
      launch("interleave", x, &k, (words + 255) / 256, 256, 0);
    } else {
      for (std::int64_t i = 0; i < words; ++i) {
        if (x.scalar_type() == at::kFloat) interleave<float>(k, i);
        else interleave<bf16>(k, i);
      }
    }
    *out = new Tensor(y);
  });
}

} // extern "C"
