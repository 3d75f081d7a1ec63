// Gather and scatter-add of rows: memory traffic alone, so one plain form serves all kernel sets.
#include "kernels/embedding/embedding.hpp"

#include <cstring>

#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/profile.hpp"

namespace sluice::kernels {
namespace {

void check_tokens(std::span<const std::int32_t> tokens, std::int64_t vocabulary) {
  for (const std::int32_t token : tokens) {
    SLUICE_CHECK(token >= 0 && token < vocabulary, "token {} of a vocabulary of {}", token,
                 vocabulary);
  }
}

template <class From, class To>
void copy_row(const From* from, To* to, std::int64_t columns) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, static_cast<std::size_t>(columns) * sizeof(To));
  } else {
    for (std::int64_t i = 0; i < columns; ++i) to[i] = from_float<To>(to_float(from[i]));
  }
}

template <class T>
void add_row(const T* from, float* to, std::int64_t columns) {
  for (std::int64_t i = 0; i < columns; ++i) to[i] += to_float(from[i]);
}

}  // namespace

void embed(const ComputeContext& context, TensorView table, std::span<const std::int32_t> tokens,
           TensorView out) {
  check_element(table.dtype);
  check_element(out.dtype);
  SLUICE_CHECK_EQ(table.columns, out.columns);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(tokens.size()), out.rows);
  check_tokens(tokens, table.rows);
  const ProfileScope profile(context, "embed");
  context.team->parallel_for(
      out.rows, grain_rows(out.columns), [&](std::int64_t first, std::int64_t last) {
        visit_element(table.dtype, [&]<class From>(From) {
          visit_element(out.dtype, [&]<class To>(To) {
            const auto from = table.as<From>();
            const auto to = out.as<To>();
            for (std::int64_t r = first; r < last; ++r) {
              copy_row(from.row(tokens[static_cast<std::size_t>(r)]), to.row(r), to.columns);
            }
          });
        });
      });
}

void embed_backward(const ComputeContext& context, std::span<const std::int32_t> tokens,
                    TensorView dout, TensorView dtable) {
  check_element(dout.dtype);
  SLUICE_CHECK_EQ(dtable.columns, dout.columns);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(tokens.size()), dout.rows);
  check_tokens(tokens, dtable.rows);
  const auto to = dtable.as<float>();
  const ProfileScope profile(context, "embed_backward");
  constexpr std::int64_t kBlock = 64;
  context.team->parallel_for((to.columns + kBlock - 1) / kBlock, grain_rows(kBlock * dout.rows),
                             [&](std::int64_t first, std::int64_t last) {
                               const std::int64_t column = first * kBlock;
                               const std::int64_t n = std::min(last * kBlock, to.columns) - column;
                               visit_element(dout.dtype, [&]<class T>(T) {
                                 const auto from = dout.as<T>();
                                 for (std::int64_t r = 0; r < from.rows; ++r) {
                                   float* row = to.row(tokens[static_cast<std::size_t>(r)]);
                                   add_row(from.row(r) + column, row + column, n);
                                 }
                               });
                             });
}

}  // namespace sluice::kernels
