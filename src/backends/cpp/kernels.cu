// The kernels of a UNet's channels-last activations, for CUDA and, from the same text, for the host.
//
// On a GPU a block's threads run each phase together and meet at its end. On the host, which is there
// to hold the kernels to LibTorch where there is no GPU, a phase is a loop over the threads.
//
// Numbers are f32 inside, whatever is stored. No sum depends on the order in which threads arrive.

#if defined(__CUDACC_RTC__)
#define INLINE static __device__ __forceinline__
#define PHASE(t) for (int t = threadIdx.x, t##_once = 1; t##_once; t##_once = 0, __syncthreads())
#define UNROLL _Pragma("unroll")
#define UNROLL_2 _Pragma("unroll 2")
#define UNROLL_4 _Pragma("unroll 4")
#else
#include <cmath>
#include <cstring>
#define INLINE static inline
#define PHASE(t) for (int t = 0; t < block.threads; ++t)
#define UNROLL
#define UNROLL_2
#define UNROLL_4
struct uint4 {
  unsigned x, y, z, w;
};
#endif

typedef long long int64;

// Which part of the work a block has. A block's threads are `rows` rows of `chunk / lanes` columns.
struct Block {
  int image, chunk, threads;
};

// Group normalisation of x + added, and maybe SiLU and dropout behind it.
//
// Images are [images, pixels, channels]. x may lie in two tensors, side by side along the channels.
struct Norm {
  const void *first, *second;
  int64 images, pixels, channels, first_channels;
  // The channels of a block: a multiple of those of a group and of those of a 16-byte word.
  int64 chunk, rows;
  int64 groups, silu;
  // [images, channels] with this many values from one image to the next, or null.
  const void* added;
  int64 added_stride;
  // [channels].
  const void *weight, *bias;
  // Per image, or null: a value is dropped if the hash of key and place lies below the threshold.
  const unsigned* keys;
  // Forward: the result. Backward: the gradient of x, in as many parts.
  void *out, *out_second;
  // [images, groups]; forward may have null.
  float *mean, *inverse;
  // Backward: the gradient of the result, those of weight and bias by image, and that of `added`.
  const void* gradient;
  float *weight_gradient, *bias_gradient;
  void* added_gradient;
  float eps, factor;
  unsigned threshold, unused;
};

// out += bias + first + second, each maybe null; [count / channels, channels].
struct Add {
  void* out;
  const void *bias, *first, *second;
  int64 count, channels;
};

// The four outputs that an enlargement makes of a pixel, put where they belong, plus a bias:
// [images, height + 1, width + 1, 4 channels] to [images, 2 height, 2 width, channels]. `separate` goes
// the other way, with zeros where nothing belongs.
struct Interleave {
  void* out;
  const void *in, *bias;
  int64 images, height, width, channels;
};

struct bf16 {
  unsigned short bits;
};

INLINE float of_bits(unsigned bits) {
#if defined(__CUDACC_RTC__)
  return __uint_as_float(bits);
#else
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
#endif
}

INLINE unsigned bits_of(float x) {
#if defined(__CUDACC_RTC__)
  return __float_as_uint(x);
#else
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
#endif
}

// To the nearest, ties to even.
INLINE unsigned rounded(float x) {
  const unsigned bits = bits_of(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

INLINE unsigned rounded(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  unsigned both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
#else
  return rounded(low) | rounded(high) << 16;
#endif
}

// One 16-byte word of T as f32 numbers.
template <class T>
struct Word;

template <>
struct Word<float> {
  static const int lanes = 4;
  float v[4];
  INLINE Word of(const uint4& x) {
    return {{of_bits(x.x), of_bits(x.y), of_bits(x.z), of_bits(x.w)}};
  }
  INLINE uint4 packed(const Word& x) {
    return {bits_of(x.v[0]), bits_of(x.v[1]), bits_of(x.v[2]), bits_of(x.v[3])};
  }
  INLINE float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
  }
};

template <>
struct Word<bf16> {
  static const int lanes = 8;
  float v[8];
  INLINE Word of(const uint4& x) {
    return {{of_bits(x.x << 16), of_bits(x.x & 0xffff0000u), of_bits(x.y << 16),
             of_bits(x.y & 0xffff0000u), of_bits(x.z << 16), of_bits(x.z & 0xffff0000u),
             of_bits(x.w << 16), of_bits(x.w & 0xffff0000u)}};
  }
  INLINE uint4 packed(const Word& x) {
    return {rounded(x.v[0], x.v[1]), rounded(x.v[2], x.v[3]), rounded(x.v[4], x.v[5]),
            rounded(x.v[6], x.v[7])};
  }
  // The fast exponential is exact enough by far.
  INLINE float sigmoid(float x) {
#if defined(__CUDACC_RTC__)
    return __fdividef(1.0f, 1.0f + __expf(-x));
#else
    return 1.0f / (1.0f + expf(-x));
#endif
  }
};

INLINE float number(const float* x, int64 i) {
  return x[i];
}

INLINE float number(const bf16* x, int64 i) {
  return of_bits(unsigned(x[i].bits) << 16);
}

INLINE void store(float* x, int64 i, float value) {
  x[i] = value;
}

INLINE void store(bf16* x, int64 i, float value) {
  x[i].bits = (unsigned short)rounded(value);
}

// Dropout's factor for a value, as in train/dropout.rs.
INLINE float kept(const Norm& k, unsigned key, unsigned place) {
  unsigned x = place * 0x9e3779b1u + key;
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  x = x ^ (x >> 16);
  return x >= k.threshold ? k.factor : 0.0f;
}

// A column of words in two tensors side by side: the first one, and the words from a pixel to the next.
template <class Words>
struct Column {
  Words* x;
  int64 step;
};

template <class T, class Words, class Tensor>
INLINE Column<Words> column(const Norm& k, Tensor* first, Tensor* second, int64 image, int64 channel) {
  const bool in_first = channel < k.first_channels;
  const int64 channels = in_first ? k.first_channels : k.channels - k.first_channels;
  const int64 at = image * k.pixels * channels + (in_first ? channel : channel - k.first_channels);
  Words* base = (Words*)(in_first ? first : second);
  return {base + at / Word<T>::lanes, channels / Word<T>::lanes};
}

template <class T>
INLINE Column<const uint4> column(const Norm& k, int64 image, int64 channel) {
  return column<T, const uint4>(k, k.first, k.second, image, channel);
}

template <class T>
INLINE float added(const Norm& k, int64 image, int64 channel) {
  return k.added ? number((const T*)k.added, image * k.added_stride + channel) : 0.0f;
}

// Sums `arrays` arrays of [rows, chunk] over their rows, into the first.
INLINE void halve(const Block& block, float* sums, int arrays, int n, int64 chunk, int64 rows, int t) {
  const int half = (n + 1) / 2;
  for (int64 i = t; i < (n - half) * chunk; i += block.threads) {
    for (int a = 0; a < arrays; ++a) sums[a * rows * chunk + i] += sums[a * rows * chunk + half * chunk + i];
  }
}

// y = dropout(SiLU((x + added - mean) / sqrt(variance + eps) * weight + bias)).
//
// The variance is that of values less a first one of their channel, and channels are joined by their
// means and squares, so that a mean far from zero costs no digits.
template <class T>
INLINE void norm_forward(const Norm& k, const Block& block, float* shared) {
  const int lanes = Word<T>::lanes;
  const int columns = int(k.chunk) / lanes;
  const int64 first = block.chunk * k.chunk;
  float *sums = shared, *squares = shared + k.rows * k.chunk;
  const int size = int(k.channels / k.groups), groups = int(k.chunk) / size;
  float *means = squares + k.rows * k.chunk, *inverses = means + groups;

  PHASE(t) {
    const int row = t / columns, c = t % columns * lanes;
    const Column<const uint4> x = column<T>(k, block.image, first + c);
    const Word<T> origin = Word<T>::of(x.x[0]);
    float sum[lanes], square[lanes];
    UNROLL for (int i = 0; i < lanes; ++i) sum[i] = square[i] = 0.0f;
    UNROLL_4 for (int64 p = row; p < k.pixels; p += k.rows) {
      const Word<T> word = Word<T>::of(x.x[p * x.step]);
      UNROLL for (int i = 0; i < lanes; ++i) {
        const float d = word.v[i] - origin.v[i];
        sum[i] += d;
        square[i] += d * d;
      }
    }
    UNROLL for (int i = 0; i < lanes; ++i) {
      sums[row * k.chunk + c + i] = sum[i];
      squares[row * k.chunk + c + i] = square[i];
    }
  }
  for (int n = int(k.rows); n > 1; n = (n + 1) / 2) {
    PHASE(t) halve(block, sums, 2, n, k.chunk, k.rows, t);
  }
  const float pixels = float(k.pixels);
  PHASE(t) for (int c = t; c < k.chunk; c += block.threads) {
    const int64 channel = first + c;
    const Column<const uint4> x = column<T>(k, block.image, channel / lanes * lanes);
    const float origin = number((const T*)x.x, channel % lanes);
    const float mean = sums[c] / pixels;
    squares[c] = squares[c] - sums[c] * mean;
    sums[c] = origin + added<T>(k, block.image, channel) + mean;
  }
  PHASE(t) for (int g = t; g < groups; g += block.threads) {
    float mean = 0.0f, square = 0.0f;
    for (int c = g * size; c < (g + 1) * size; ++c) mean += sums[c];
    mean /= size;
    for (int c = g * size; c < (g + 1) * size; ++c) {
      const float d = sums[c] - mean;
      square += squares[c] + pixels * d * d;
    }
    means[g] = mean;
    inverses[g] = 1.0f / sqrtf(square / (pixels * size) + k.eps);
    if (k.mean) {
      const int64 at = block.image * k.groups + first / size + g;
      k.mean[at] = mean;
      k.inverse[at] = inverses[g];
    }
  }
  PHASE(t) {
    const int row = t / columns, c = t % columns * lanes;
    const Column<const uint4> x = column<T>(k, block.image, first + c);
    uint4* out = (uint4*)((T*)k.out + block.image * k.pixels * k.channels + first + c);
    float shift[lanes], scale[lanes], bias[lanes];
    UNROLL for (int i = 0; i < lanes; ++i) {
      const int64 channel = first + c + i;
      shift[i] = added<T>(k, block.image, channel) - means[(c + i) / size];
      scale[i] = inverses[(c + i) / size] * number((const T*)k.weight, channel);
      bias[i] = number((const T*)k.bias, channel);
    }
    UNROLL_4 for (int64 p = row; p < k.pixels; p += k.rows) {
      Word<T> word = Word<T>::of(x.x[p * x.step]);
      UNROLL for (int i = 0; i < lanes; ++i) {
        float z = (word.v[i] + shift[i]) * scale[i] + bias[i];
        if (k.silu) z *= Word<T>::sigmoid(z);
        if (k.keys) z *= kept(k, k.keys[block.image], unsigned(p * k.channels + first + c + i));
        word.v[i] = z;
      }
      out[p * (k.channels / lanes)] = Word<T>::packed(word);
    }
  }
}

// With z the value before SiLU and xhat the normalised one, dz = dy dropout SiLU'(z),
// dx = (w dz - mean(w dz) - xhat mean(w dz xhat)) / sqrt(variance + eps), means over a group.
template <class T>
INLINE void norm_backward(const Norm& k, const Block& block, float* shared) {
  const int lanes = Word<T>::lanes;
  const int columns = int(k.chunk) / lanes;
  const int64 first = block.chunk * k.chunk;
  const int64 area = k.rows * k.chunk;
  const int size = int(k.channels / k.groups), groups = int(k.chunk) / size;
  // Sums of dz, of dz xhat and of xhat by channel; then the two means of each group.
  float *sums = shared, *products = shared + area, *normals = products + area;
  float *means = normals + area, *slopes = means + groups;
  const int64 group = block.image * k.groups + first / size;

  // The value before dropout and SiLU has the slope dz of them, which this gives with xhat.
#define SLOPES(word, dy, dz, xhat)                                                            \
  UNROLL for (int i = 0; i < lanes; ++i) {                                                    \
    xhat[i] = word.v[i] * scale[i] + shift[i];                                                \
    dz[i] = dy.v[i];                                                                          \
    if (k.keys) dz[i] *= kept(k, k.keys[block.image], unsigned(p * k.channels + first + c + i)); \
    if (k.silu) {                                                                             \
      const float z = xhat[i] * weight[i] + bias[i], s = Word<T>::sigmoid(z);                       \
      dz[i] *= s * (1.0f + z * (1.0f - s));                                                   \
    }                                                                                         \
  }
#define COLUMN_CONSTANTS                                                                      \
  const int row = t / columns, c = t % columns * lanes;                                       \
  const Column<const uint4> x = column<T>(k, block.image, first + c);                                      \
  const int64 step = k.channels / lanes;                                                      \
  const uint4* gradient =                                                                     \
      (const uint4*)k.gradient + (block.image * k.pixels * k.channels + first + c) / lanes;   \
  float scale[lanes], shift[lanes], weight[lanes], bias[lanes];                               \
  UNROLL for (int i = 0; i < lanes; ++i) {                                                    \
    const int64 channel = first + c + i;                                                      \
    scale[i] = k.inverse[group + (c + i) / size];                                             \
    shift[i] = (added<T>(k, block.image, channel) - k.mean[group + (c + i) / size]) * scale[i]; \
    weight[i] = number((const T*)k.weight, channel);                                          \
    bias[i] = number((const T*)k.bias, channel);                                              \
  }

  PHASE(t) {
    COLUMN_CONSTANTS
    float sum[lanes], product[lanes], normal[lanes];
    UNROLL for (int i = 0; i < lanes; ++i) sum[i] = product[i] = normal[i] = 0.0f;
    UNROLL_2 for (int64 p = row; p < k.pixels; p += k.rows) {
      const Word<T> word = Word<T>::of(x.x[p * x.step]), dy = Word<T>::of(gradient[p * step]);
      float dz[lanes], xhat[lanes];
      SLOPES(word, dy, dz, xhat)
      UNROLL for (int i = 0; i < lanes; ++i) {
        sum[i] += dz[i];
        product[i] += dz[i] * xhat[i];
        normal[i] += xhat[i];
      }
    }
    UNROLL for (int i = 0; i < lanes; ++i) {
      sums[row * k.chunk + c + i] = sum[i];
      products[row * k.chunk + c + i] = product[i];
      normals[row * k.chunk + c + i] = normal[i];
    }
  }
  for (int n = int(k.rows); n > 1; n = (n + 1) / 2) {
    PHASE(t) halve(block, sums, 3, n, k.chunk, k.rows, t);
  }
  const float count = float(k.pixels) * float(size);
  PHASE(t) {
    for (int c = t; c < k.chunk; c += block.threads) {
      k.bias_gradient[block.image * k.channels + first + c] = sums[c];
      k.weight_gradient[block.image * k.channels + first + c] = products[c];
    }
    for (int g = t; g < groups; g += block.threads) {
      float mean = 0.0f, slope = 0.0f;
      for (int c = g * size; c < (g + 1) * size; ++c) {
        const float weight = number((const T*)k.weight, first + c);
        mean += weight * sums[c];
        slope += weight * products[c];
      }
      means[g] = mean / count;
      slopes[g] = slope / count;
    }
  }
  PHASE(t) {
    if (k.added_gradient) {
      for (int c = t; c < k.chunk; c += block.threads) {
        const int g = c / size;
        const float weight = number((const T*)k.weight, first + c);
        const float sum = weight * sums[c] - float(k.pixels) * means[g] - normals[c] * slopes[g];
        store((T*)k.added_gradient, block.image * k.channels + first + c, sum * k.inverse[group + g]);
      }
    }
    COLUMN_CONSTANTS
    const Column<uint4> out = column<T, uint4>(k, k.out, k.out_second, block.image, first + c);
    float mean[lanes], slope[lanes];
    UNROLL for (int i = 0; i < lanes; ++i) {
      mean[i] = means[(c + i) / size];
      slope[i] = slopes[(c + i) / size];
    }
    UNROLL_2 for (int64 p = row; p < k.pixels; p += k.rows) {
      Word<T> word = Word<T>::of(x.x[p * x.step]);
      const Word<T> dy = Word<T>::of(gradient[p * step]);
      float dz[lanes], xhat[lanes];
      SLOPES(word, dy, dz, xhat)
      UNROLL for (int i = 0; i < lanes; ++i) {
        word.v[i] = (weight[i] * dz[i] - mean[i] - xhat[i] * slope[i]) * scale[i];
      }
      out.x[p * out.step] = Word<T>::packed(word);
    }
  }
#undef SLOPES
#undef COLUMN_CONSTANTS
}

// One 16-byte word.
template <class T>
INLINE void add(const Add& k, int64 i) {
  const int lanes = Word<T>::lanes;
  uint4* out = (uint4*)k.out;
  Word<T> sum = Word<T>::of(out[i]);
#define TERM(x, at)                                             \
  if (x) {                                                      \
    const Word<T> term = Word<T>::of(((const uint4*)(x))[at]);  \
    UNROLL for (int j = 0; j < lanes; ++j) sum.v[j] += term.v[j]; \
  }
  TERM(k.bias, unsigned(i) % unsigned(k.channels / lanes))
  TERM(k.first, i)
  TERM(k.second, i)
#undef TERM
  out[i] = Word<T>::packed(sum);
}

// One 16-byte word of the result. The upper left of a pixel's four outputs is the first quarter of
// the channels of row i and column j; the lower ones are a row further, the right ones a column.
template <class T>
INLINE void interleave(const Interleave& k, int64 i) {
  const int lanes = Word<T>::lanes;
  const unsigned columns = unsigned(k.channels / lanes);
  const unsigned row = unsigned(i / columns), c = unsigned(i) - row * columns;
  const unsigned width = unsigned(k.width), height = unsigned(k.height);
  const unsigned x = row % (2 * width), rest = row / (2 * width);
  const unsigned y = rest % (2 * height), image = rest / (2 * height);
  const unsigned lower = y % 2, right = x % 2;
  const int64 pixel = (int64(image) * (height + 1) + y / 2 + lower) * (width + 1) + x / 2 + right;
  const uint4* in = (const uint4*)k.in + pixel * (4 * columns) + (2 * lower + right) * columns + c;
  Word<T> word = Word<T>::of(*in);
  if (k.bias) {
    const Word<T> bias = Word<T>::of(((const uint4*)k.bias)[c]);
    UNROLL for (int j = 0; j < lanes; ++j) word.v[j] += bias.v[j];
  }
  ((uint4*)k.out)[i] = Word<T>::packed(word);
}

// One 16-byte word of the way back: [images, 2 height, 2 width, channels] to four times the channels.
template <class T>
INLINE void separate(const Interleave& k, int64 i) {
  const unsigned columns = unsigned(k.channels / Word<T>::lanes);
  const unsigned width = unsigned(k.width), height = unsigned(k.height);
  const unsigned pixel = unsigned(i / (4 * columns)), c = unsigned(i) - pixel * (4 * columns);
  const unsigned lower = c / columns / 2, right = c / columns % 2;
  const unsigned x = pixel % (width + 1), rest = pixel / (width + 1);
  const unsigned y = rest % (height + 1), image = rest / (height + 1);
  uint4 word = {0, 0, 0, 0};
  // Unsigned numbers below zero are large.
  if (y - lower < height && x - right < width) {
    const int64 row = int64(image) * 2 * height + 2 * (y - lower) + lower;
    const int64 at = row * 2 * width + 2 * (x - right) + right;
    word = ((const uint4*)k.in)[at * columns + c % columns];
  }
  ((uint4*)k.out)[i] = word;
}

#if defined(__CUDACC_RTC__)
extern __shared__ float shared[];

#define NORM(name, T, most, blocks)                                                          \
  extern "C" __global__ void __launch_bounds__(most, blocks) name##_##T(const Norm k) {      \
    const int chunks = int(k.channels / k.chunk);                                            \
    name<T>(k, {int(blockIdx.x) / chunks, int(blockIdx.x) % chunks, int(blockDim.x)}, shared); \
  }
#define WORDS(name, Name, T, count)                                                          \
  extern "C" __global__ void __launch_bounds__(256) name##_##T(const Name k) {               \
    const int64 i = int64(blockIdx.x) * blockDim.x + threadIdx.x;                            \
    if (i < (count) / Word<T>::lanes) name<T>(k, i);                                         \
  }
NORM(norm_forward, float, 256, 3)
NORM(norm_forward, bf16, 256, 3)
NORM(norm_backward, float, 256, 2)
NORM(norm_backward, bf16, 256, 2)
WORDS(add, Add, float, k.count)
WORDS(add, Add, bf16, k.count)
WORDS(interleave, Interleave, float, k.images * 4 * k.height * k.width * k.channels)
WORDS(interleave, Interleave, bf16, k.images * 4 * k.height * k.width * k.channels)
WORDS(separate, Interleave, float, k.images * 4 * (k.height + 1) * (k.width + 1) * k.channels)
WORDS(separate, Interleave, bf16, k.images * 4 * (k.height + 1) * (k.width + 1) * k.channels)
#endif
