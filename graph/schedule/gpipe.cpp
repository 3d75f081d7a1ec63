// GPipe (Huang et al., arXiv 1811.06965): all forward passes, then all backward passes.
#include "graph/schedule/kinds.hpp"

namespace sluice::graph {
namespace {

Program gpipe_program(ScheduleSize size, std::int32_t) {
  Program out;
  for (const PassKind kind : {PassKind::kForward, PassKind::kBackward}) {
    for (std::int32_t m = 0; m < size.micro_batches; ++m) out.push_back(Pass{kind, 0, m});
  }
  return out;
}

}  // namespace

ScheduleKind gpipe() {
  ScheduleKind kind;
  kind.name = "gpipe";
  kind.about = "all forward passes, then all backward passes";
  kind.refusal = [](ScheduleSize) { return std::string(); };
  kind.placement = [](ScheduleSize size) {
    return Placement::one_way(size.ranks, 1, size.micro_batches);
  };
  kind.program = gpipe_program;
  kind.published = [](ScheduleSize size, const PassTimes& t) {
    return Published{"(PP-1)(F+B)", (size.ranks - 1) * (t.forward + t.backward), "M",
                     size.micro_batches};
  };
  return kind;
}

}  // namespace sluice::graph
