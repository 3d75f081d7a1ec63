// Why nothing moves: who waits for whom, in words, first the cause.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "actors/waiting.hpp"
#include "graph/plan.hpp"

namespace sluice::actors {

/// Who sends a message with this key to `receiver`; several where any of them may.
[[nodiscard]] std::vector<ActorIndex> senders_of(const graph::Plan& plan, ActorIndex receiver,
                                                 const Key& key);

struct HangExplanation {
  std::string cause;               ///< a sentence
  std::vector<std::string> waits;  ///< "stage 0 waits for ...", nearest to the cause first
};

/// `actors` in the order of the plan; absent: it does not answer. All were asked while no message
/// was on its way and no task ran. Causes, in this order: an actor that does not answer; a channel
/// whose books do not balance, because a message or a credit was lost; actors that wait for each
/// other in a circle; an actor that others wait for while it has nothing to do. Empty when no actor
/// waits.
[[nodiscard]] HangExplanation explain_hang(const graph::Plan& plan,
                                           std::span<const std::optional<Waiting>> actors);
/// Cause and waits on lines of their own.
[[nodiscard]] std::string to_string(const HangExplanation& explanation);

}  // namespace sluice::actors
