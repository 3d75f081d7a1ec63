// How much memory a message holds on to.
#include "actors/message.hpp"

#include <numeric>

namespace sluice::actors {
namespace {

std::int64_t bytes(const Tensor& tensor) { return static_cast<std::int64_t>(tensor.size_bytes()); }

struct Measure {
  std::int64_t operator()(const Tokens& body) const { return bytes(body.tokens); }
  std::int64_t operator()(const Hidden& body) const { return bytes(body.rows); }
  std::int64_t operator()(const EmbeddingRows& body) const {
    return std::accumulate(body.depths.begin(), body.depths.end(), std::int64_t{0},
                           [](std::int64_t sum, const Tensor& t) { return sum + bytes(t); });
  }
  std::int64_t operator()(const Dispatch& body) const {
    return bytes(body.normed) + bytes(body.routing.experts) + bytes(body.routing.weights);
  }
  std::int64_t operator()(const Combine& body) const { return bytes(body.sums.rows); }
  std::int64_t operator()(const DispatchGradient& body) const { return bytes(body.dy); }
  std::int64_t operator()(const CombineGradient& body) const {
    return bytes(body.gradients.input.rows) + bytes(body.gradients.weights);
  }
  std::int64_t operator()(const Observed& body) const { return bytes(body.tensor); }
  std::int64_t operator()(const Logits& body) const { return bytes(body.row); }
  template <class T>
  std::int64_t operator()(const T&) const {
    return 0;
  }
};

}  // namespace

std::int64_t size_bytes(const Message& message) { return std::visit(Measure{}, message.body); }

}  // namespace sluice::actors
