// Packing: a transposition where K runs along memory rows, a copy where it runs across them.
//
// Stores are always whole registers: in a panel narrower than a register the surplus lands on the
// next index of K, which is written after it, and behind the last one on the slack between panels.
#include <algorithm>

#include "kernels/gemm/gemm_pack.hpp"

#define SLUICE_ISA_SOURCE "kernels/gemm/gemm_pack_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA
namespace sluice::kernels::SLUICE_ISA {
namespace {

#if SLUICE_ISA_IS_AVX512

constexpr int kWords = 16;
using Words = __m512;

SLUICE_INLINE Words no_words() { return _mm512_setzero_ps(); }
SLUICE_INLINE void store_words(float* to, Words w) { _mm512_storeu_ps(to, w); }
SLUICE_INLINE Words load_words(const float* p) { return _mm512_loadu_ps(p); }
SLUICE_INLINE Words load_words(const float* p, std::int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
SLUICE_INLINE Words load_words(const BF16* p) { return load(p).v; }
SLUICE_INLINE Words load_words(const BF16* p, std::int64_t n) { return load_first(p, n).v; }

SLUICE_INLINE void transpose(Words (&r)[kWords]) {
  Words t[kWords];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {  // r[i + j]: column j of each quarter, rows i .. i + 3
    for (int j = 0; j < 2; ++j) {
      const __m512d low = _mm512_castps_pd(t[i + j]);
      const __m512d high = _mm512_castps_pd(t[i + j + 2]);
      r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
      r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
    }
  }
  for (int j = 0; j < 4; ++j) {
    const Words ab_even = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88);
    const Words ab_odd = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
    const Words cd_even = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
    const Words cd_odd = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
    t[j] = _mm512_shuffle_f32x4(ab_even, cd_even, 0x88);
    t[8 + j] = _mm512_shuffle_f32x4(ab_even, cd_even, 0xdd);
    t[4 + j] = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0x88);
    t[12 + j] = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0xdd);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

#else

constexpr int kWords = 8;
using Words = __m256;

SLUICE_INLINE Words no_words() { return _mm256_setzero_ps(); }
SLUICE_INLINE void store_words(float* to, Words w) { _mm256_storeu_ps(to, w); }
SLUICE_INLINE Words load_words(const float* p) { return _mm256_loadu_ps(p); }
SLUICE_INLINE Words load_words(const float* p, std::int64_t n) {
  return _mm256_maskload_ps(p, first_mask(n));
}
SLUICE_INLINE Words load_words(const BF16* p) {
  return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
SLUICE_INLINE Words load_words(const BF16* p, std::int64_t n) {
  alignas(16) BF16 buffer[kWords] = {};
  for (std::int64_t i = 0; i < n; ++i) buffer[i] = p[i];
  return load_words(buffer);
}

SLUICE_INLINE void transpose(Words (&r)[kWords]) {
  Words t[kWords];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
      r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xee);
    }
  }
  for (int j = 0; j < 4; ++j) {
    t[j] = _mm256_permute2f128_ps(r[j], r[4 + j], 0x20);
    t[4 + j] = _mm256_permute2f128_ps(r[j], r[4 + j], 0x31);
  }
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

#endif

// The memory rows of one word of K, where they run across lines.
struct MemoryRows {
  const std::byte* first;
  const std::byte* second;  // null: a zero, or a word of one element
};

template <class Source>
SLUICE_INLINE MemoryRows memory_rows(const PackJob& job, std::int64_t k) {
  const bool pair = Source::kElements == 2 && k + 1 < job.k;
  return {job.operand->row(job.first_k + k),
          pair ? job.operand->row(job.first_k + k + 1) : nullptr};
}

// How elements of memory become words. `along`: words that follow each other in one memory row;
// `across`: one word of each of neighbouring lines, from the rows of one word of K.
template <class Element>
struct OneElementAWord {
  static constexpr std::int64_t kElements = 1;
  SLUICE_INLINE static Words along(const std::byte* row, std::int64_t k) {
    return load_words(reinterpret_cast<const Element*>(row) + k);
  }
  SLUICE_INLINE static Words along(const std::byte* row, std::int64_t k, std::int64_t n) {
    return load_words(reinterpret_cast<const Element*>(row) + k, n);
  }
  SLUICE_INLINE static Words across(const MemoryRows& rows, std::int64_t line) {
    return load_words(reinterpret_cast<const Element*>(rows.first) + line);
  }
  SLUICE_INLINE static Words across(const MemoryRows& rows, std::int64_t line, std::int64_t n) {
    return load_words(reinterpret_cast<const Element*>(rows.first) + line, n);
  }
};

#if SLUICE_ISA_IS_AVX512
struct TwoElementsAWord {
  static constexpr std::int64_t kElements = 2;
  SLUICE_INLINE static Words along(const std::byte* row, std::int64_t k) {
    return _mm512_castsi512_ps(_mm512_loadu_si512(reinterpret_cast<const BF16*>(row) + k));
  }
  SLUICE_INLINE static Words along(const std::byte* row, std::int64_t k, std::int64_t n) {
    const auto mask = static_cast<__mmask32>((std::uint64_t{1} << n) - 1);  // n <= 32
    return _mm512_castsi512_ps(
        _mm512_maskz_loadu_epi16(mask, reinterpret_cast<const BF16*>(row) + k));
  }
  SLUICE_INLINE static Words across(const MemoryRows& rows, std::int64_t line) {
    const auto half = [line](const std::byte* row) {
      const auto* p = reinterpret_cast<const BF16*>(row) + line;
      return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    };
    return join(half(rows.first),
                rows.second == nullptr ? _mm512_setzero_si512() : half(rows.second));
  }
  SLUICE_INLINE static Words across(const MemoryRows& rows, std::int64_t line, std::int64_t n) {
    const auto half = [line, n](const std::byte* row) {
      const auto* p = reinterpret_cast<const BF16*>(row) + line;
      return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(n), p));
    };
    return join(half(rows.first),
                rows.second == nullptr ? _mm512_setzero_si512() : half(rows.second));
  }
  SLUICE_INLINE static Words join(__m512i low, __m512i high) {
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
};
#endif

// Up to kWords lines of one panel, K along memory rows.
template <class Source>
void pack_lines_along(const PackJob& job, std::int64_t line, std::int64_t lines, std::int64_t width,
                      float* out) {
  const std::byte* rows[kWords];
  for (int i = 0; i < kWords; ++i) rows[i] = i < lines ? job.operand->row(line + i) : nullptr;
  constexpr std::int64_t kStep = kWords * Source::kElements;
  for (std::int64_t k = 0; k < job.k; k += kStep) {
    const std::int64_t left = job.k - k;
    Words r[kWords];
    for (int i = 0; i < kWords; ++i) {
      if (rows[i] == nullptr) {
        r[i] = no_words();
      } else {
        r[i] = left >= kStep ? Source::along(rows[i], job.first_k + k)
                             : Source::along(rows[i], job.first_k + k, left);
      }
    }
    transpose(r);
    const std::int64_t words = (std::min(left, kStep) + Source::kElements - 1) / Source::kElements;
    if (words == kWords) {
      for (int i = 0; i < kWords; ++i) store_words(out + i * width, r[i]);
    } else {
      for (std::int64_t i = 0; i < words; ++i) store_words(out + i * width, r[i]);
    }
    out += words * width;
  }
}

template <class Source>
void pack_along(const PackJob& job) {
  for (std::int64_t panel = 0; panel < job.panels(); ++panel) {
    const std::int64_t width = job.panel_width(panel);
    auto* out = reinterpret_cast<float*>(job.out + panel * job.panel_stride);
    for (std::int64_t l = 0; l < width; l += kWords) {
      const std::int64_t line = panel * job.width + l;
      const std::int64_t lines = std::clamp<std::int64_t>(job.lines - line, 0, kWords);
      pack_lines_along<Source>(job, job.first_line + line, lines, width, out + l);
    }
  }
}

// `words` words of K of one panel.
template <class Source>
SLUICE_INLINE void copy_across(const MemoryRows* rows, std::int64_t words, std::int64_t line,
                               std::int64_t lines_left, std::int64_t width, float* out) {
  for (std::int64_t l = 0; l < width; l += kWords) {
    const std::int64_t n = std::max<std::int64_t>(lines_left - l, 0);
    if (n >= kWords) {
      for (std::int64_t w = 0; w < words; ++w) {
        store_words(out + w * width + l, Source::across(rows[w], line + l));
      }
    } else {
      for (std::int64_t w = 0; w < words; ++w) {
        store_words(out + w * width + l, Source::across(rows[w], line + l, n));
      }
    }
  }
}

// Rows of memory are read once, from left to right, a few at a time.
template <class Source>
void pack_across(const PackJob& job) {
  // Eight memory rows: those a power of two apart share a set of L1, which has eight ways.
  constexpr std::int64_t kWordsAtOnce = 8 / Source::kElements;
  const std::int64_t panels = job.panels();
  const std::int64_t all_words = (job.k + Source::kElements - 1) / Source::kElements;
  for (std::int64_t word = 0; word < all_words; word += kWordsAtOnce) {
    const std::int64_t words = std::min(kWordsAtOnce, all_words - word);
    MemoryRows rows[kWordsAtOnce];
    for (std::int64_t w = 0; w < words; ++w) {
      rows[w] = memory_rows<Source>(job, (word + w) * Source::kElements);
    }
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      const std::int64_t width = panel + 1 == panels ? job.last_width : job.width;
      const std::int64_t line = job.first_line + panel * job.width;
      auto* out = reinterpret_cast<float*>(job.out + panel * job.panel_stride) + word * width;
      copy_across<Source>(rows, words, line, job.all_lines - line, width, out);
    }
  }
}

// Zeros for the words of K that only padding has.
template <class Source>
void pad_k(const PackJob& job) {
  const std::int64_t words = (job.k + Source::kElements - 1) / Source::kElements;
  const std::int64_t missing = job.padded_k / Source::kElements - words;
  if (missing == 0) return;
  for (std::int64_t panel = 0; panel < job.panels(); ++panel) {
    const std::int64_t width = job.panel_width(panel);
    auto* out = reinterpret_cast<float*>(job.out + panel * job.panel_stride);
    std::fill_n(out + words * width, missing * width, 0.0f);
  }
}

template <class Source>
void pack(const PackJob& job) {
  job.operand->k_along_row ? pack_along<Source>(job) : pack_across<Source>(job);
  pad_k<Source>(job);
}

#if SLUICE_ISA_IS_AVX512

constexpr std::int64_t kRowK = 32;  // of K, in a row of a tile
constexpr int kLineGroup = 8;       // lines that are transposed together

// Where K runs along memory rows: pieces of those rows.
void copy_to_rows(const PackJob& job, std::int64_t panel, float* out) {
  using Source = TwoElementsAWord;
  const std::int64_t lines = std::min(job.lines - panel * job.width, job.panel_width(panel));
  const std::int64_t whole = job.k / kRowK * kRowK;
  for (std::int64_t line = 0; line < lines; ++line) {
    const std::byte* row = job.operand->row(job.first_line + panel * job.width + line);
    float* to = out + line * kWords;
    for (std::int64_t k = 0; k < whole; k += kRowK, to += job.width * kWords) {
      store_words(to, Source::along(row, job.first_k + k));
    }
    if (whole < job.k) store_words(to, Source::along(row, job.first_k + whole, job.k - whole));
  }
}

// Eight 16-bit words of each of 32 memory rows, from index `at` on: register j of the result holds
// the rows 8 i + j in its 128-bit lane i.
SLUICE_INLINE void load_words_of_rows(const BF16* const* rows, std::int64_t at,
                                      __m512i (&r)[kLineGroup]) {
  const auto words = [rows, at](int i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i] + at));
  };
  for (int j = 0; j < kLineGroup; ++j) {
    r[j] = _mm512_castsi128_si512(words(j));
    r[j] = _mm512_inserti32x4(r[j], words(8 + j), 1);
    r[j] = _mm512_inserti32x4(r[j], words(16 + j), 2);
    r[j] = _mm512_inserti32x4(r[j], words(24 + j), 3);
  }
}

// Within each 128-bit lane, an 8 x 8 transposition of 16-bit words.
SLUICE_INLINE void transpose_words(__m512i (&r)[kLineGroup]) {
  __m512i pairs[kLineGroup], quads[kLineGroup];
  for (int i = 0; i < kLineGroup; i += 2) {
    pairs[i] = _mm512_unpacklo_epi16(r[i], r[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi16(r[i], r[i + 1]);
  }
  for (int i = 0; i < kLineGroup; i += 4) {
    for (int j = 0; j < 2; ++j) {
      quads[i + 2 * j] = _mm512_unpacklo_epi32(pairs[i + j], pairs[i + j + 2]);
      quads[i + 2 * j + 1] = _mm512_unpackhi_epi32(pairs[i + j], pairs[i + j + 2]);
    }
  }
  for (int i = 0; i < 4; ++i) {
    r[2 * i] = _mm512_unpacklo_epi64(quads[i], quads[i + 4]);
    r[2 * i + 1] = _mm512_unpackhi_epi64(quads[i], quads[i + 4]);
  }
}

// Eight words of each of 32 rows where memory has fewer rows, or fewer words in each: zeros there.
class EdgeRows {
 public:
  [[gnu::noinline]] void copy(const BF16* const* rows, std::int64_t count, std::int64_t at,
                              std::int64_t words) {
    for (std::int64_t i = 0; i < kRowK; ++i) {
      std::fill_n(copies_[i], kLineGroup, BF16{});
      if (i < count) std::copy_n(rows[i] + at, words, copies_[i]);
      rows_[i] = copies_[i];
    }
  }
  [[nodiscard]] const BF16* const* rows() const { return rows_; }

 private:
  alignas(16) BF16 copies_[kRowK][kLineGroup];
  const BF16* rows_[kRowK];
};

// Where K runs across memory rows: 32 of them, from the left to the right.
void transpose_to_rows(const PackJob& job, std::int64_t k) {
  const std::int64_t count = std::min(job.k - k, kRowK);
  const BF16* rows[kRowK];
  for (std::int64_t i = 0; i < count; ++i) {
    rows[i] = reinterpret_cast<const BF16*>(job.operand->row(job.first_k + k + i));
  }
  EdgeRows edge;
  for (std::int64_t line = 0; line < job.lines; line += kLineGroup) {
    const std::int64_t at = job.first_line + line;
    const std::int64_t lines = std::min<std::int64_t>(job.lines - line, kLineGroup);
    const bool is_edge = count < kRowK || at + kLineGroup > job.all_lines;
    if (is_edge) edge.copy(rows, count, at, lines);
    __m512i r[kLineGroup];
    load_words_of_rows(is_edge ? edge.rows() : rows, is_edge ? 0 : at, r);
    transpose_words(r);
    float* out = reinterpret_cast<float*>(job.out + line / job.width * job.panel_stride) +
                 (k / kRowK * job.width + line % job.width) * kWords;
    for (std::int64_t i = 0; i < lines; ++i) {
      store_words(out + i * kWords, _mm512_castsi512_ps(r[i]));
    }
  }
}
#endif

}  // namespace

void pack_floats(const PackJob& job) {
  if (job.operand->dtype == DType::kBF16) {
    pack<OneElementAWord<BF16>>(job);
  } else {
    pack<OneElementAWord<float>>(job);
  }
}

#if SLUICE_ISA_IS_AVX512

void pack_bf16_pairs(const PackJob& job) { pack<TwoElementsAWord>(job); }

void pack_bf16_rows(const PackJob& job) {
  if (job.operand->k_along_row) {
    for (std::int64_t panel = 0; panel < job.panels(); ++panel) {
      copy_to_rows(job, panel, reinterpret_cast<float*>(job.out + panel * job.panel_stride));
    }
  } else {
    for (std::int64_t k = 0; k < job.k; k += kRowK) transpose_to_rows(job, k);
  }
}

#endif

}  // namespace sluice::kernels::SLUICE_ISA
#endif
