// From a gate's choice to expert-contiguous rows and back.
#pragma once

#include <vector>

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// The rows that one expert group computes: pairs (token, slot) of experts [first, first + count),
/// sorted by expert, then token.
struct Route {
  std::vector<std::int32_t>
      offsets;  ///< count + 1: rows of local expert e are [offsets[e], offsets[e+1])
  std::vector<std::int32_t> tokens;  ///< row -> token
  std::vector<std::int32_t> slots;   ///< row -> token · K + k, where its weight lies
  std::int64_t rows_max = 0;  ///< tokens · min(K, count): no choice of experts gives more rows
};
/// `experts` [tokens · top_k], those of one token all different.
void route(std::span<const std::int32_t> experts, std::int64_t tokens, std::int64_t top_k,
           std::int64_t first_expert, std::int64_t expert_count, Route& out);

/// Sums of expert outputs along the binary tree over expert ids. Node (level l, i) covers ids
/// [i·2^l, (i+1)·2^l); a node's sum is left + right where both have rows of the token, else the one
/// that has. A group owning experts [first, first+count) sums the maximal aligned nodes inside and
/// sends one row per (token, node) that has any. Every sum is rounded to the dtype of the rows, so
/// the bits are the same for any split of the experts into groups, in BF16 too.
struct TreePartial {
  std::vector<std::int32_t>
      token;  ///< row -> token, ascending; several rows of one token are in node order
  std::vector<std::int32_t> node_first;  ///< row -> first expert id of its node
  std::vector<std::int32_t> node_size;   ///< row -> 2^level, ids covered
  Tensor rows;  ///< [rows, H], the used part of room for tokens · min(K, nodes) rows
};
/// y [rows of route, H] -> partial sums in dtype of y. Memory taken from the context depends on
/// tokens, K and the group alone, not on what was chosen.
void tree_combine(const ComputeContext& context, const Route& route, std::int64_t first_expert,
                  std::int64_t expert_count, std::int64_t tokens, TensorView y, TreePartial& out);

/// Adds the partial sums of all groups (in order of first_expert) along the rest of the tree into
/// out [T, H]: out = tree sum; tokens without any expert get zeros.
void tree_combine_root(const ComputeContext& context, std::span<const TreePartial* const> groups,
                       std::int64_t expert_count, std::int64_t tokens, TensorView out);

/// out.row(r) = x.row(index[r]).
void gather_rows(const ComputeContext& context, TensorView x, std::span<const std::int32_t> index,
                 TensorView out);

}  // namespace sluice::kernels
