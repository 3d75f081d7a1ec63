// Hardware that one would wish for: changes to a description, and to what an all-to-all carries.
#pragma once

#include <string>
#include <vector>

#include "graph/cost/hardware.hpp"
#include "graph/cost/layout.hpp"

namespace sluice::cost {

struct WhatIf {
  std::string name;   ///< "links x2"
  std::string about;  ///< what it assumes
  Hardware hardware;
};

/// After the wishes of DeepSeek-V3's report (3.5) and of arXiv 2505.09343 (4.4, 6): links twice as
/// fast, one network for scale-up and scale-out, FP8 products without promotion of partial sums,
/// other numbers of SMs for communication, sums and copies made in the network.
[[nodiscard]] std::vector<WhatIf> what_ifs(const Job& job, const Hardware& hardware);

}  // namespace sluice::cost
