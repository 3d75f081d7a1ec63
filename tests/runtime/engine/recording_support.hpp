// Small training runs in virtual time, recorded; on request with a bit flipped.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "actors/message.hpp"
#include "runtime/host/sim_host.hpp"
#include "runtime/trace/recording.hpp"

namespace sluice::engine {

/// Changes one bit, that of element [2, 7], in one Combine message, as a kernel would that
/// miscomputes it.
struct Flip {
  std::string actor;
  actors::Key key{};
};

/// Three training steps of small_model() on two stages with two expert groups each. `sets` change
/// the config, `seed` the order of events, `sim` what these take.
[[nodiscard]] Status record(const std::filesystem::path& directory, trace::Payloads payloads,
                            const std::vector<std::string>& sets = {}, std::uint64_t seed = 1,
                            std::optional<Flip> flip = {}, host::SimHost::Config sim = {});

}  // namespace sluice::engine
