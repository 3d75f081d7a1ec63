// A loss curve for the terminal, drawn with braille dots: two by four to a character.
#pragma once

#include <string>

#include "runtime/engine/metrics_log.hpp"

namespace sluice {

/// Training loss as dots, validation as crosses, the unigram loss as a line; axes with numbers.
/// Lines end in newlines.
[[nodiscard]] std::string draw_loss_curve(const engine::MetricsHistory& history, int width = 72,
                                          int height = 14);

}  // namespace sluice
