// Rates applied to shapes.
#include "graph/cost/kernel.hpp"

#include <algorithm>
#include <cmath>

namespace sluice::cost {
namespace {

constexpr double kMicro = 1e-6;
constexpr double kGiga = 1e9;
constexpr double kTera = 1e12;
constexpr double kBlock = 128;  // of K

double waves(double rows, double columns, double groups, const TileRate& tile, double sms) {
  const double tiles = std::ceil(rows / tile.rows) * std::ceil(columns / tile.columns) * groups;
  return std::ceil(tiles / sms);
}

double fp8_seconds(const Product& product, const TileRate& tile, double sms) {
  const double count = waves(product.rows, product.columns, product.groups, tile, sms);
  return count * (tile.start_us + tile.block_us * product.depth / kBlock) * kMicro;
}

class Timer {
 public:
  Timer(const Hardware& hardware, double sms) : hardware_(hardware), sms_(sms) {}

  double operator()(const Product& product) const {
    switch (product.type) {
      case Product::Type::kFp8: return fp8_seconds(product, rates().fp8, sms_);
      case Product::Type::kFp8Weight: return weight_seconds(product);
      case Product::Type::kBf16: return bf16_seconds(product);
    }
    return 0;
  }
  double operator()(const Attention& attention) const {
    const double tflops = attention.is_backward ? rates().attention_backward_tflops
                                                : rates().attention_forward_tflops;
    return attention.operations / (tflops * kTera * sms_ / rates().attention_sms);
  }
  double operator()(const Move& move) const {
    const double tb_s = rates().movement_tb_s[static_cast<std::size_t>(move.movement)];
    return move.bytes * rates().movement_traffic / (tb_s * kTera);
  }
  double operator()(const Routing&) const { return rates().routing_us * kMicro; }
  double operator()(const AllToAll& all_to_all) const {
    const double latency =
        all_to_all.within_node ? hardware_.nvlink_latency_us : hardware_.ib_latency_us;
    return all_to_all.bytes / (gb_s(all_to_all) * kGiga) + latency * kMicro;
  }

 private:
  const Rates& rates() const { return hardware_.rates; }

  // A weight's gradient may be computed either way round; tiles are not square.
  double weight_seconds(const Product& product) const {
    Product turned = product;
    std::swap(turned.rows, turned.columns);
    return std::min(fp8_seconds(product, rates().fp8_weight, sms_),
                    fp8_seconds(turned, rates().fp8_weight, sms_));
  }
  double bf16_seconds(const Product& product) const {
    constexpr TileRate kTile{.rows = 128, .columns = 128};
    const double per_sm = rates().bf16_tflops * kTera / hardware_.sms;
    const double tile = 2 * kTile.rows * kTile.columns * product.depth / per_sm;
    return waves(product.rows, product.columns, product.groups, kTile, sms_) * tile;
  }
  double gb_s(const AllToAll& all_to_all) const {
    using Phase = AllToAll::Phase;
    const Phase phase = all_to_all.phase;
    if (all_to_all.within_node) {
      const bool is_dispatch = phase == Phase::kDispatchForward || phase == Phase::kCombineBackward;
      return is_dispatch ? rates().node_dispatch_gb_s : rates().node_combine_gb_s;
    }
    switch (phase) {
      case Phase::kDispatchForward: return rates().dispatch_forward_gb_s;
      case Phase::kCombineForward: return rates().combine_forward_gb_s;
      case Phase::kCombineBackward: return rates().combine_backward_gb_s;
      case Phase::kDispatchBackward: return rates().dispatch_backward_gb_s;
    }
    return 0;
  }

  const Hardware& hardware_;
  double sms_;
};

}  // namespace

double seconds_of(const Kernel& kernel, const Hardware& hardware, double sms) {
  return std::visit(Timer(hardware, sms), kernel.work);
}

}  // namespace sluice::cost
