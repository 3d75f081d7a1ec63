// Routes by counting, and sums along the tree over expert ids.
#include "kernels/moe/route.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/kernel_set.hpp"
#include "kernels/cpu/profile.hpp"
#include "kernels/moe/moe_kernels.hpp"

namespace sluice::kernels {
namespace {

const MoeKernels& kernels_of(const ComputeContext& context) {
  return select(context.isa, reference::kMoe, avx2::kMoe, avx512::kMoe);
}

struct Node {
  std::int32_t first = 0;
  std::int32_t size = 0;
};

// The largest aligned node that starts at `first` and ends at or before `end`.
Node node_at(std::int64_t first, std::int64_t end) {
  std::int64_t size = 1;
  while (first % (2 * size) == 0 && first + 2 * size <= end) size *= 2;
  return {static_cast<std::int32_t>(first), static_cast<std::int32_t>(size)};
}

// Cuts [first, first + count) into the fewest aligned nodes.
std::vector<Node> nodes_of(std::int64_t first, std::int64_t count) {
  std::vector<Node> nodes;
  for (std::int64_t e = first; e < first + count; e += nodes.back().size) {
    nodes.push_back(node_at(e, first + count));
  }
  return nodes;
}

// Collects the rows of one token by rising id and works out the order of additions: two ids meet at
// the level of the highest bit in which they differ, so a sum is due as soon as the next id lies
// further away than its two halves do from each other.
class TreeBuilder {
 public:
  void clear() {
    rows_.clear();
    merges_.clear();
    gaps_.clear();
  }
  void push(std::int32_t id, const void* row) {
    if (!rows_.empty()) {
      SLUICE_CHECK_LT(last_, id);
      close_until(std::bit_width(static_cast<std::uint32_t>(id ^ last_)));
    }
    rows_.push_back(row);
    merges_.push_back(0);
    last_ = id;
  }
  [[nodiscard]] bool empty() const { return rows_.empty(); }
  /// Sums what was pushed into `out`.
  void sum(const MoeKernels& kernels, DType dtype, void* out, DType out_dtype,
           std::int64_t columns) {
    close_until(kWhole);
    kernels.tree_sum({rows_, merges_, dtype, out, out_dtype, columns});
  }

 private:
  static constexpr int kWhole = 64;

  void close_until(int gap) {
    for (; !gaps_.empty() && gaps_.back() < gap; gaps_.pop_back()) ++merges_.back();
    if (gap != kWhole) gaps_.push_back(gap);
  }

  std::vector<const void*> rows_;
  std::vector<std::uint8_t> merges_;
  std::vector<int> gaps_;  // between neighbours on the stack, falling
  std::int32_t last_ = 0;
};

// The rows of a route by token, those of one token by rising expert.
struct ByToken {
  std::span<std::int32_t> begin;    // tokens + 1
  std::span<std::int32_t> rows;     // route rows
  std::span<std::int32_t> experts;  // local expert of each
};

void sort_by_token(const Route& route, std::int64_t tokens, const ByToken& out) {
  std::fill(out.begin.begin(), out.begin.end(), 0);
  for (const std::int32_t token : route.tokens) ++out.begin[static_cast<std::size_t>(token) + 1];
  for (std::size_t t = 0; t < static_cast<std::size_t>(tokens); ++t) {
    out.begin[t + 1] += out.begin[t];
  }
  for (std::size_t e = 0; e + 1 < route.offsets.size(); ++e) {
    for (std::int32_t r = route.offsets[e]; r < route.offsets[e + 1]; ++r) {
      const std::int32_t token = route.tokens[static_cast<std::size_t>(r)];
      const auto place = static_cast<std::size_t>(out.begin[static_cast<std::size_t>(token)]++);
      out.rows[place] = r;
      out.experts[place] = static_cast<std::int32_t>(e);
    }
  }
  // Filling moved each begin to its end, which is the next one's begin.
  for (std::size_t t = static_cast<std::size_t>(tokens); t > 0; --t)
    out.begin[t] = out.begin[t - 1];
  out.begin[0] = 0;
}

// Lists the partial rows, and for each where its rows begin in `by_token` (one entry more at the
// end).
void list_partials(const ByToken& by_token, std::span<const Node> nodes, std::int64_t first_expert,
                   TreePartial& out, std::span<std::int32_t> starts) {
  out.token.clear();
  out.node_first.clear();
  out.node_size.clear();
  for (std::size_t t = 0; t + 1 < by_token.begin.size(); ++t) {
    auto node = nodes.begin();
    std::int32_t last_node = -1;
    for (std::int32_t i = by_token.begin[t]; i < by_token.begin[t + 1]; ++i) {
      const std::int64_t id = first_expert + by_token.experts[static_cast<std::size_t>(i)];
      while (id >= node->first + node->size) ++node;
      if (node->first == last_node) continue;
      last_node = node->first;
      starts[out.token.size()] = i;
      out.token.push_back(static_cast<std::int32_t>(t));
      out.node_first.push_back(node->first);
      out.node_size.push_back(node->size);
    }
  }
  starts[out.token.size()] = by_token.begin.back();
}

void check_route(const Route& route, std::int64_t expert_count, std::int64_t tokens,
                 const TensorView& y) {
  check_element(y.dtype);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(route.offsets.size()), expert_count + 1);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(route.tokens.size()), y.rows);
  SLUICE_CHECK_LE(y.rows, route.rows_max);
  SLUICE_CHECK_GE(tokens, 0);
}

// Walks the partial rows of one group as the tokens rise.
struct Cursor {
  const TreePartial* group;
  std::size_t row;

  [[nodiscard]] bool at(std::int64_t token) const {
    return row < group->token.size() && group->token[row] == token;
  }
  static Cursor to(const TreePartial& group, std::int64_t token) {
    const auto place = std::lower_bound(group.token.begin(), group.token.end(), token);
    return {&group, static_cast<std::size_t>(place - group.token.begin())};
  }
};

void fill_zero(const TensorView& out, std::int64_t row) {
  std::memset(out.rows_from(row, 1).data, 0,
              static_cast<std::size_t>(out.columns) * size_of(out.dtype));
}

}  // namespace

void route(std::span<const std::int32_t> experts, std::int64_t tokens, std::int64_t top_k,
           std::int64_t first_expert, std::int64_t expert_count, Route& out) {
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(experts.size()), tokens * top_k);
  out.rows_max = tokens * std::min(top_k, expert_count);
  out.offsets.assign(static_cast<std::size_t>(expert_count) + 1, 0);
  const auto local = [&](std::size_t slot) { return experts[slot] - first_expert; };
  const auto mine = [&](std::int64_t e) { return e >= 0 && e < expert_count; };
  for (std::size_t slot = 0; slot < experts.size(); ++slot) {
    if (mine(local(slot))) ++out.offsets[static_cast<std::size_t>(local(slot)) + 1];
  }
  for (std::size_t e = 0; e < static_cast<std::size_t>(expert_count); ++e) {
    out.offsets[e + 1] += out.offsets[e];
  }
  const auto rows = static_cast<std::size_t>(out.offsets.back());
  out.tokens.reserve(static_cast<std::size_t>(out.rows_max));
  out.slots.reserve(static_cast<std::size_t>(out.rows_max));
  out.tokens.resize(rows);
  out.slots.resize(rows);
  for (std::size_t slot = 0; slot < experts.size(); ++slot) {
    if (!mine(local(slot))) continue;
    const auto row = static_cast<std::size_t>(out.offsets[static_cast<std::size_t>(local(slot))]++);
    out.tokens[row] = static_cast<std::int32_t>(static_cast<std::int64_t>(slot) / top_k);
    out.slots[row] = static_cast<std::int32_t>(slot);
  }
  // Filling moved each offset to its end, which is the next one's begin.
  for (std::size_t e = static_cast<std::size_t>(expert_count); e > 0; --e) {
    out.offsets[e] = out.offsets[e - 1];
  }
  out.offsets[0] = 0;
}

void tree_combine(const ComputeContext& context, const Route& route, std::int64_t first_expert,
                  std::int64_t expert_count, std::int64_t tokens, TensorView y, TreePartial& out) {
  check_route(route, expert_count, tokens, y);
  const ProfileScope profile(context, "tree_combine");
  const std::vector<Node> nodes = nodes_of(first_expert, expert_count);
  const Tensor scratch = context.make(DType::kI32, Shape{tokens + 1 + 3 * route.rows_max + 1});
  const std::span<std::int32_t> all = scratch.values<std::int32_t>();
  const auto part = [&](std::int64_t first, std::int64_t n) {
    return all.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n));
  };
  const ByToken by_token{part(0, tokens + 1), part(tokens + 1, route.rows_max),
                         part(tokens + 1 + route.rows_max, route.rows_max)};
  const auto starts = part(tokens + 1 + 2 * route.rows_max, route.rows_max + 1);
  const std::int64_t partials_max =
      std::min(route.rows_max, tokens * static_cast<std::int64_t>(nodes.size()));
  for (auto* list : {&out.token, &out.node_first, &out.node_size}) {
    list->reserve(static_cast<std::size_t>(partials_max));
  }
  sort_by_token(route, tokens, by_token);
  list_partials(by_token, nodes, first_expert, out, starts);
  const auto partials = static_cast<std::int64_t>(out.token.size());
  out.rows = context.make(y.dtype, Shape{partials_max, y.columns}).slice(0, partials);
  const TensorView sums = out.rows.view();
  const MoeKernels& kernels = kernels_of(context);
  context.team->parallel_for(
      partials, grain_rows(2 * y.columns), [&](std::int64_t first, std::int64_t last) {
        TreeBuilder tree;
        for (std::int64_t p = first; p < last; ++p) {
          tree.clear();
          const auto index = static_cast<std::size_t>(p);
          for (std::int32_t i = starts[index]; i < starts[index + 1]; ++i) {
            const auto place = static_cast<std::size_t>(i);
            const std::int64_t id = first_expert + by_token.experts[place];
            tree.push(static_cast<std::int32_t>(id), y.rows_from(by_token.rows[place], 1).data);
          }
          tree.sum(kernels, y.dtype, sums.rows_from(p, 1).data, y.dtype, y.columns);
        }
      });
}

void tree_combine_root(const ComputeContext& context, std::span<const TreePartial* const> groups,
                       std::int64_t expert_count, std::int64_t tokens, TensorView out) {
  check_element(out.dtype);
  SLUICE_CHECK_EQ(out.rows, tokens);
  DType dtype = out.dtype;
  for (const TreePartial* group : groups) {
    if (group->token.empty()) continue;
    dtype = group->rows.dtype();
    SLUICE_CHECK_EQ(group->rows.shape().rows(), static_cast<std::int64_t>(group->token.size()));
    SLUICE_CHECK_EQ(group->rows.shape().columns(), out.columns);
  }
  const ProfileScope profile(context, "tree_combine_root");
  const MoeKernels& kernels = kernels_of(context);
  context.team->parallel_for(
      tokens, grain_rows(2 * out.columns), [&](std::int64_t first, std::int64_t last) {
        std::vector<Cursor> cursors;
        for (const TreePartial* group : groups) cursors.push_back(Cursor::to(*group, first));
        TreeBuilder tree;
        for (std::int64_t t = first; t < last; ++t) {
          tree.clear();
          for (Cursor& cursor : cursors) {
            for (; cursor.at(t); ++cursor.row) {
              const std::int32_t id = cursor.group->node_first[cursor.row];
              SLUICE_CHECK_LT(id, expert_count);
              const auto row = static_cast<std::int64_t>(cursor.row);
              tree.push(id, cursor.group->rows.view().rows_from(row, 1).data);
            }
          }
          if (tree.empty()) {
            fill_zero(out, t);
          } else {
            tree.sum(kernels, dtype, out.rows_from(t, 1).data, out.dtype, out.columns);
          }
        }
      });
}

void gather_rows(const ComputeContext& context, TensorView x, std::span<const std::int32_t> index,
                 TensorView out) {
  SLUICE_CHECK(x.dtype == out.dtype);
  SLUICE_CHECK_EQ(x.columns, out.columns);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(index.size()), out.rows);
  const ProfileScope profile(context, "gather_rows");
  const std::size_t bytes = static_cast<std::size_t>(x.columns) * size_of(x.dtype);
  context.team->parallel_for(
      out.rows, grain_rows(x.columns), [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t r = first; r < last; ++r) {
          const std::int64_t from = index[static_cast<std::size_t>(r)];
          SLUICE_CHECK(from >= 0 && from < x.rows, "row {} of {}", from, x.rows);
          std::memcpy(out.rows_from(r, 1).data, x.rows_from(from, 1).data, bytes);
        }
      });
}

}  // namespace sluice::kernels
