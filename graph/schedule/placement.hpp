// Which rank holds which stages, and the routes that micro-batches take through them.
//
// A route visits every stage once; a micro-batch follows one route down with activations and back
// up with gradients. Ranks hold a chunk for each visit. So nobody who runs, times, checks or draws
// a schedule asks for its kind: the next stage is the next place on the route, wherever that is.
//
//   one way     1 route; stage s on rank s mod P         gpipe, 1f1b, zb1p; interleaved_1f1b loops
//   V           1 route down the ranks and up again      zbv, dualpipev
//   two ways    2 routes, down and up; every stage twice dualpipe
#pragma once

#include <cstdint>
#include <vector>

namespace sluice::graph {

struct Route {
  std::vector<std::int32_t> ranks;  ///< by stage
  std::int32_t micro_batches = 0;   ///< that take this route
  std::int32_t reverse_from = 0;    ///< stages from here on are of direction 1, those before of 0
  friend bool operator==(const Route&, const Route&) = default;
};

class Placement {
 public:
  /// Where a stage is held: which chunk of which rank.
  struct Holder {
    std::int32_t rank = 0;
    std::int32_t chunk = 0;
  };
  /// What a chunk is.
  struct Chunk {
    std::int32_t route = 0;
    std::int32_t stage = 0;
    std::int32_t direction = 0;  ///< 0 or 1; tells the chunks of a V and of two ways apart
    friend bool operator==(const Chunk&, const Chunk&) = default;
  };

  Placement() = default;
  /// Any routes of equal length. A rank's chunks are in order of route, then stage.
  Placement(std::int32_t ranks, std::vector<Route> routes);

  [[nodiscard]] static Placement one_way(std::int32_t ranks, std::int32_t stages_per_rank,
                                         std::int32_t micro_batches);
  [[nodiscard]] static Placement v_shape(std::int32_t ranks, std::int32_t micro_batches);
  /// Half of the micro-batches each way.
  [[nodiscard]] static Placement two_ways(std::int32_t ranks, std::int32_t micro_batches);

  [[nodiscard]] std::int32_t ranks() const { return static_cast<std::int32_t>(chunks_.size()); }
  [[nodiscard]] std::int32_t stages() const;
  [[nodiscard]] std::int32_t micro_batches() const { return micro_batches_; }  ///< on all routes
  [[nodiscard]] const std::vector<Route>& routes() const { return routes_; }
  [[nodiscard]] const std::vector<Chunk>& chunks(std::int32_t rank) const {
    return chunks_[static_cast<std::size_t>(rank)];
  }
  [[nodiscard]] Chunk chunk(std::int32_t rank, std::int32_t index) const {
    return chunks(rank)[static_cast<std::size_t>(index)];
  }
  [[nodiscard]] Holder holder(std::int32_t route, std::int32_t stage) const {
    return holders_[static_cast<std::size_t>(route)][static_cast<std::size_t>(stage)];
  }
  /// The first micro-batch of a route, where those of all routes are counted through.
  [[nodiscard]] std::int32_t micro_batch_first(std::int32_t route) const {
    return micro_batch_first_[static_cast<std::size_t>(route)];
  }
  /// The same routes, `total` micro-batches dealt out evenly among them.
  [[nodiscard]] Placement with_micro_batches(std::int32_t total) const;
  friend bool operator==(const Placement& a, const Placement& b) {
    return a.ranks() == b.ranks() && a.routes_ == b.routes_;
  }

 private:
  std::vector<Route> routes_;
  std::vector<std::vector<Chunk>> chunks_;    // by rank
  std::vector<std::vector<Holder>> holders_;  // by route and stage
  std::vector<std::int32_t> micro_batch_first_;
  std::int32_t micro_batches_ = 0;
};

}  // namespace sluice::graph
