// A device, its links, and the rates at which kernels run on it: numbers with their units, read
// from configs/hardware/*.toml, where each has its source.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::cost {

/// Kernels that only move data, by what they do; each kind reaches another share of the memory's
/// bandwidth.
enum class Movement : std::uint8_t {
  kNormForward,
  kNormBackward,
  kAdd,
  kScale,      ///< multiplies element by element
  kCast,       ///< activations of the residual stream to FP8, 1x128
  kCastRows,   ///< rows given to experts, and gradients, to FP8
  kRetile,     ///< FP8 1x128 to 128x1
  kTranspose,  ///< FP8 weights
  kCopy,
  kRotate,
  kBroadcast,
  kPermute,
  kUnpermute,
  kSwiglu,
  kAttentionEnds,  ///< before and after the backward attention core
  kPack,           ///< to E5M6
  kUnpack,         ///< from it
};
inline constexpr std::array<std::string_view, 17> kMovementNames{
    "norm_forward",   "norm_backward", "add",    "scale",     "cast",    "cast_rows", "retile",
    "transpose",      "copy",          "rotate", "broadcast", "permute", "unpermute", "swiglu",
    "attention_ends", "pack",          "unpack"};

/// A family of matrix products: a tile takes start + block · K / 128.
struct TileRate {
  double rows = 128;
  double columns = 128;
  double start_us = 0;
  double block_us = 0;
};

/// How fast kernels run. One device may have several sets of these, from different sources.
struct Rates {
  std::string name;
  TileRate fp8;
  TileRate fp8_weight;     ///< FP32 accumulation, for weight gradients
  double bf16_tflops = 0;  ///< on all SMs
  double attention_forward_tflops = 0;
  double attention_backward_tflops = 0;
  double attention_sms = 0;  ///< on which attention was measured
  double sms_alone = 0;      ///< that kernels use where nothing is transferred beside them
  std::array<double, kMovementNames.size()> movement_tb_s{};
  double movement_traffic = 1;  ///< measured time of all movements, over that of their least bytes
  double routing_us = 0;        ///< kernels of a gate that are bound by latency
  double launch_gap_us = 0;
  double launches_per_kernel = 1;  ///< of the lists in unit_kernels.hpp
  /// All-to-all between nodes, bytes counted as node copies of tokens (unit_kernels.hpp).
  double dispatch_forward_gb_s = 0;
  double combine_forward_gb_s = 0;
  double combine_backward_gb_s = 0;   ///< carries gradients as dispatch carries tokens
  double dispatch_backward_gb_s = 0;  ///< carries gradients as combine carries sums
  /// Within a node.
  double node_dispatch_gb_s = 0;
  double node_combine_gb_s = 0;

  /// visit(key, value, unit) for each.
  template <class V>
  void visit_fields(V&& visit);
};

struct Hardware {
  std::string name;
  double sms = 0;
  double communication_sms = 0;  ///< taken from kernels while tokens travel
  double bf16_peak_tflops = 0;
  double fp8_peak_tflops = 0;
  double memory_gib = 0;
  double memory_tb_s = 0;  ///< achieved
  double gpus_per_node = 0;
  double ib_gb_s = 0;  ///< a GPU's share, achieved
  double nvlink_gb_s = 0;
  double ib_latency_us = 0;
  double nvlink_latency_us = 0;
  Rates rates;

  template <class V>
  void visit_fields(V&& visit);
};

template <class V>
void Rates::visit_fields(V&& visit) {
  const auto tile = [&](const std::string& family, TileRate& rate) {
    visit(family + ".tile_rows", rate.rows, "elements");
    visit(family + ".tile_columns", rate.columns, "elements");
    visit(family + ".start", rate.start_us, "us");
    visit(family + ".block", rate.block_us, "us");
  };
  tile("gemm.fp8", fp8);
  tile("gemm.fp8_weight", fp8_weight);
  visit("gemm.bf16", bf16_tflops, "TFLOPS");
  visit("attention.forward", attention_forward_tflops, "TFLOPS");
  visit("attention.backward", attention_backward_tflops, "TFLOPS");
  visit("attention.sms", attention_sms, "SMs");
  visit("sms_alone", sms_alone, "SMs");
  for (std::size_t i = 0; i < movement_tb_s.size(); ++i) {
    visit("movement." + std::string(kMovementNames[i]), movement_tb_s[i], "TB/s");
  }
  visit("movement.traffic", movement_traffic, "ratio");
  visit("routing", routing_us, "us");
  visit("launch.gap", launch_gap_us, "us");
  visit("launch.per_kernel", launches_per_kernel, "launches");
  visit("all_to_all.dispatch_forward", dispatch_forward_gb_s, "GB/s");
  visit("all_to_all.combine_forward", combine_forward_gb_s, "GB/s");
  visit("all_to_all.combine_backward", combine_backward_gb_s, "GB/s");
  visit("all_to_all.dispatch_backward", dispatch_backward_gb_s, "GB/s");
  visit("all_to_all.node_dispatch", node_dispatch_gb_s, "GB/s");
  visit("all_to_all.node_combine", node_combine_gb_s, "GB/s");
}

template <class V>
void Hardware::visit_fields(V&& visit) {
  visit("device.sms", sms, "SMs");
  visit("device.communication_sms", communication_sms, "SMs");
  visit("device.bf16_peak", bf16_peak_tflops, "TFLOPS");
  visit("device.fp8_peak", fp8_peak_tflops, "TFLOPS");
  visit("device.memory", memory_gib, "GiB");
  visit("device.memory_bandwidth", memory_tb_s, "TB/s");
  visit("node.gpus", gpus_per_node, "GPUs");
  visit("link.ib", ib_gb_s, "GB/s");
  visit("link.nvlink", nvlink_gb_s, "GB/s");
  visit("link.ib_latency", ib_latency_us, "us");
  visit("link.nvlink_latency", nvlink_latency_us, "us");
}

}  // namespace sluice::cost
