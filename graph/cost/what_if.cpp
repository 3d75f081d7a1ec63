// Each wish as a changed description.
#include "graph/cost/what_if.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "graph/cost/unit_kernels.hpp"

namespace sluice::cost {
namespace {

void scale_between_nodes(Rates& rates, double factor) {
  for (double* rate : {&rates.dispatch_forward_gb_s, &rates.combine_forward_gb_s,
                       &rates.combine_backward_gb_s, &rates.dispatch_backward_gb_s}) {
    *rate *= factor;
  }
}

// Kernels that are sized for what communication leaves stay so.
void give_sms(Hardware& hardware, double sms) {
  const bool follows = hardware.rates.sms_alone == hardware.sms - hardware.communication_sms;
  hardware.communication_sms = sms;
  if (follows) hardware.rates.sms_alone = hardware.sms - sms;
}

Hardware links_doubled(Hardware hardware) {
  hardware.ib_gb_s *= 2;
  hardware.nvlink_gb_s *= 2;
  scale_between_nodes(hardware.rates, 2);
  hardware.rates.node_dispatch_gb_s *= 2;
  hardware.rates.node_combine_gb_s *= 2;
  return hardware;
}

Hardware one_network(Hardware hardware) {
  scale_between_nodes(hardware.rates, hardware.nvlink_gb_s / hardware.ib_gb_s);
  hardware.ib_gb_s = hardware.nvlink_gb_s;
  give_sms(hardware, 0);
  return hardware;
}

// FP8 products reach the share of their peak that BF16 products reach of theirs.
Hardware without_promotion(Hardware hardware) {
  const double share = hardware.rates.bf16_tflops / hardware.bf16_peak_tflops;
  const double tflops_per_sm = hardware.fp8_peak_tflops * share / hardware.sms;
  for (TileRate* tile : {&hardware.rates.fp8, &hardware.rates.fp8_weight}) {
    const double operations = 2 * tile->rows * tile->columns * 128;
    tile->block_us = std::min(tile->block_us, operations / (tflops_per_sm * 1e6));
  }
  return hardware;
}

Hardware with_sms(Hardware hardware, double sms) {
  give_sms(hardware, sms);
  return hardware;
}

Hardware one_copy(Hardware hardware, double copies) {
  scale_between_nodes(hardware.rates, copies);
  give_sms(hardware, 0);
  return hardware;
}

}  // namespace

std::vector<WhatIf> what_ifs(const Job& job, const Hardware& hardware) {
  std::vector<WhatIf> out;
  out.push_back({"as described", "", hardware});
  out.push_back(
      {"links x2", "InfiniBand, NVLink and all-to-alls twice as fast", links_doubled(hardware)});
  out.push_back({"one network",
                 "scale-up and scale-out unified: NVLink's rate everywhere, no SM forwards",
                 one_network(hardware)});
  out.push_back({"FP8 accumulation",
                 "no promotion of partial sums: FP8 reaches BF16's share of its peak",
                 without_promotion(hardware)});
  for (const double sms : {0.0, 10.0, 32.0}) {
    out.push_back({fmt::format("{:.0f} SMs for communication", sms),
                   fmt::format("{:.0f} now; the same bandwidth", hardware.communication_sms),
                   with_sms(hardware, sms)});
  }
  const double copies = copies_of_token(job, hardware.gpus_per_node);
  out.push_back({"in-network reduction",
                 "sums and copies made by switches: no SMs; ports carry what they carried, for "
                 "every partial sum leaves its node",
                 with_sms(hardware, 0)});
  out.push_back(
      {"in-network, one copy",
       fmt::format("a bound: all-to-alls between nodes carry 1 copy a token, not {:.3g}", copies),
       one_copy(hardware, job.expert_parallel_size > hardware.gpus_per_node ? copies : 1)});
  return out;
}

}  // namespace sluice::cost
