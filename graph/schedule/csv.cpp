// Reads and writes the CSV of torch.distributed.pipelining.
#include "graph/schedule/csv.hpp"

#include <algorithm>
#include <charconv>
#include <map>

#include "graph/schedule/timing.hpp"

namespace sluice::graph {
namespace {

constexpr std::int32_t kStagesMax = 1 << 16;
constexpr std::int32_t kMicroBatchesMax = 1 << 20;
constexpr std::size_t kCellsMax = 1 << 24;
constexpr std::string_view kPairName = "OVERLAP_F_B";
constexpr std::string_view kReadOver[] = {"SEND_F",  "RECV_F",  "SEND_B",     "RECV_B",
                                          "UNSHARD", "RESHARD", "REDUCE_GRAD"};

// Where a cell stands, both counted from one.
struct Where {
  std::int32_t line = 0;
  std::int32_t cell = 0;
};

// A pass with names as in the file: global stage, micro-batch of the step.
struct NamedPass {
  PassKind kind = PassKind::kForward;
  std::int32_t stage = 0;
  std::int32_t micro_batch = 0;
};

struct NamedAction {
  Where where;
  std::vector<NamedPass> passes;  // one, or the two of a pair
};

std::string text_of(const NamedPass& pass) {
  return fmt::format("{}{}{}", pass.stage, letter_of(pass.kind), pass.micro_batch);
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// ---- From text to named actions ----

class Reader {
 public:
  Reader(std::string_view text, std::string_view name) : text_(text), name_(name) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (text_.starts_with(kByteOrderMark)) text_.remove_prefix(kByteOrderMark.size());
  }

  // By row.
  Result<std::vector<std::vector<NamedAction>>> read() {
    std::vector<std::vector<NamedAction>> rows;
    while (!text_.empty()) {
      ++at_.line;
      const std::string_view line = take_until('\n', text_);
      if (trimmed(line).empty()) {
        if (trimmed_of_newlines(text_).empty()) break;
        return no_passes();
      }
      SLUICE_ASSIGN(auto row, read_row(line));
      if (row.empty()) return no_passes();
      rows.push_back(std::move(row));
    }
    if (rows.empty()) return invalid_input("{}: no rows; write one for each rank", name_);
    return rows;
  }

 private:
  tl::unexpected<Error> no_passes() const {
    return invalid_input("{}:{}: a rank without a pass; write a row for each rank", name_,
                         at_.line);
  }
  static std::string_view take_until(char end, std::string_view& rest) {
    const std::size_t size = rest.find(end);
    const std::string_view taken = rest.substr(0, size);
    rest.remove_prefix(std::min(rest.size(), taken.size() + 1));
    return taken;
  }
  static std::string_view trimmed_of_newlines(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    return first == std::string_view::npos ? std::string_view() : text.substr(first);
  }

  Result<std::vector<NamedAction>> read_row(std::string_view line) {
    std::vector<NamedAction> row;
    at_.cell = 0;
    do {
      ++at_.cell;
      std::string_view cell = trimmed(take_until(',', line));
      if (cell.size() >= 2 && cell.front() == '"' && cell.back() == '"') {
        cell = trimmed(cell.substr(1, cell.size() - 2));
      }
      if (cell.empty()) continue;
      if (++cells_ > kCellsMax) {
        return invalid_input("{}:{}:{}: more than {} passes", name_, at_.line, at_.cell, kCellsMax);
      }
      NamedAction action{at_, {}};
      SLUICE_TRY(read_cell(cell, action));
      if (!action.passes.empty()) row.push_back(std::move(action));
    } while (!line.empty());
    return row;
  }

  Status read_cell(std::string_view cell, NamedAction& action) {
    if (cell.front() == '(') return read_pair(cell, action);
    NamedPass pass;
    std::string_view rest = cell;
    if (!take_number(rest, kStagesMax, pass.stage)) return bad(cell);
    if (is_read_over(rest)) return {};
    if (rest.empty()) return bad(cell);
    constexpr std::string_view kLetters = "FBIW";
    const std::size_t kind = kLetters.find(rest.front());
    if (kind == std::string_view::npos) return bad(cell);
    pass.kind = static_cast<PassKind>(kind);
    rest.remove_prefix(1);
    if (!take_number(rest, kMicroBatchesMax, pass.micro_batch) || !rest.empty()) return bad(cell);
    action.passes.push_back(pass);
    return {};
  }

  Status read_pair(std::string_view cell, NamedAction& action) {
    const std::size_t close = cell.find(')');
    if (close == std::string_view::npos || cell.substr(close + 1) != kPairName) return bad(cell);
    std::string_view inside = cell.substr(1, close - 1);
    while (!inside.empty()) {
      const std::string_view part = trimmed(take_until(';', inside));
      const std::size_t before = action.passes.size();
      if (part.empty() || part.front() == '(') return bad(cell);
      SLUICE_TRY(read_cell(part, action));
      if (action.passes.size() == before) return bad(cell);
    }
    std::vector<NamedPass>& passes = action.passes;
    if (passes.size() == 2 && passes[1].kind == PassKind::kForward) std::swap(passes[0], passes[1]);
    if (passes.size() == 2 && passes[0].kind == PassKind::kForward &&
        passes[1].kind == PassKind::kBackward) {
      return {};
    }
    return invalid_input(
        "{}:{}:{}: {:.80} overlaps what no schedule here does; a pair is of one F "
        "and one B, such as (0F3;7B1)OVERLAP_F_B",
        name_, at_.line, at_.cell, cell);
  }

  static bool is_read_over(std::string_view rest) {
    return std::any_of(std::begin(kReadOver), std::end(kReadOver), [&](std::string_view word) {
      if (!rest.starts_with(word)) return false;
      std::string_view digits = rest.substr(word.size());
      std::int32_t ignored = 0;
      return digits.empty() || (take_number(digits, kMicroBatchesMax, ignored) && digits.empty());
    });
  }

  static bool take_number(std::string_view& rest, std::int32_t limit, std::int32_t& out) {
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), out);
    if (error != std::errc() || out < 0 || out >= limit || rest.front() == '-') return false;
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    return true;
  }

  tl::unexpected<Error> bad(std::string_view cell) const {
    return invalid_input(
        "{}:{}:{}: \"{:.80}\" is no pass; write stage, F, B, I or W, micro-batch "
        "(2F0), or a pair ((0F3;7B1)OVERLAP_F_B)",
        name_, at_.line, at_.cell, cell);
  }

  std::string_view text_;
  std::string_view name_;
  Where at_;
  std::size_t cells_ = 0;
};

// ---- From named actions to placement and programs ----

class Assembler {
 public:
  Assembler(std::vector<std::vector<NamedAction>> rows, std::string_view name)
      : rows_(std::move(rows)), name_(name) {}

  Result<CsvSchedule> assemble() {
    for (std::size_t r = 0; r < rows_.size(); ++r) mend_1f1b(r);
    SLUICE_TRY(collect());
    SLUICE_TRY(find_routes());
    out_.schedule.name = name_;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      SLUICE_ASSIGN(Program program, program_of(r));
      out_.schedule.programs.push_back(std::move(program));
    }
    return std::move(out_);
  }

 private:
  // PyTorch 2.9 writes the last row of Schedule1F1B with forward passes counted from 1 and backward
  // passes from 0. Such a row can mean one thing only.
  void mend_1f1b(std::size_t row) {
    std::int32_t forwards = 0, backwards = 0;
    for (const NamedAction& action : rows_[row]) {
      const NamedPass& pass = action.passes.front();
      const bool is_forward = pass.kind == PassKind::kForward;
      if (action.passes.size() != 1 || pass.stage != rows_[row].front().passes.front().stage)
        return;
      if (!is_forward && pass.kind != PassKind::kBackward) return;
      if (pass.micro_batch != (is_forward ? ++forwards : backwards++)) return;
    }
    if (forwards == 0 || forwards != backwards) return;
    for (NamedAction& action : rows_[row]) {
      NamedPass& pass = action.passes.front();
      if (pass.kind == PassKind::kForward) --pass.micro_batch;
    }
    out_.notes.push_back(fmt::format(
        "{}:{}: forward passes 1 to {} of stage {} read as 0 to {}, as its backward "
        "passes are (PyTorch's Schedule1F1B writes its last row so)",
        name_, row + 1, forwards, rows_[row].front().passes.front().stage, forwards - 1));
  }

  struct Forward {
    std::int32_t micro_batch = 0;
    std::int32_t stage = 0;
    std::int32_t rank = 0;
    Where where;
  };

  // Every stage has every micro-batch's forward pass once.
  Status collect() {
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      for (const NamedAction& action : rows_[r]) {
        for (const NamedPass& pass : action.passes) {
          stages_ = std::max(stages_, pass.stage + 1);
          micro_batches_ = std::max(micro_batches_, pass.micro_batch + 1);
          if (pass.kind != PassKind::kForward) continue;
          forwards_.push_back(
              {pass.micro_batch, pass.stage, static_cast<std::int32_t>(r), action.where});
        }
      }
    }
    std::stable_sort(forwards_.begin(), forwards_.end(), [](const Forward& a, const Forward& b) {
      return std::pair(a.micro_batch, a.stage) < std::pair(b.micro_batch, b.stage);
    });
    for (std::size_t i = 0; i + 1 < forwards_.size(); ++i) {
      const Forward& a = forwards_[i];
      const Forward& b = forwards_[i + 1];
      if (a.micro_batch == b.micro_batch && a.stage == b.stage) {
        return invalid_input("{}:{}:{}: {}F{} is also in line {}, cell {}; leave one out", name_,
                             b.where.line, b.where.cell, b.stage, b.micro_batch, a.where.line,
                             a.where.cell);
      }
    }
    for (std::size_t i = 0; i <= forwards_.size(); ++i) {
      const auto micro_batch = static_cast<std::int32_t>(i) / stages_;
      const auto stage = static_cast<std::int32_t>(i) % stages_;
      if (micro_batch == micro_batches_) break;
      if (i < forwards_.size() && forwards_[i].micro_batch == micro_batch &&
          forwards_[i].stage == stage) {
        continue;
      }
      return invalid_input(
          "{}: {}F{} is missing; the file names stages 0 to {} and micro-batches "
          "0 to {}, and each passes each once",
          name_, stage, micro_batch, stages_ - 1, micro_batches_ - 1);
    }
    return {};
  }

  std::int32_t rank_of(std::int32_t stage, std::int32_t micro_batch) const {
    const std::int64_t index = std::int64_t{micro_batch} * stages_ + stage;
    return forwards_[static_cast<std::size_t>(index)].rank;
  }

  // Micro-batches that visit the same ranks are of one route; they are counted one after the other.
  Status find_routes() {
    std::vector<Route> routes;
    for (std::int32_t m = 0; m < micro_batches_; ++m) {
      std::vector<std::int32_t> path;
      for (std::int32_t s = 0; s < stages_; ++s) path.push_back(rank_of(s, m));
      if (routes.empty() || routes.back().ranks != path) {
        const auto again = std::find_if(routes.begin(), routes.end(),
                                        [&](const Route& route) { return route.ranks == path; });
        if (again != routes.end()) {
          return invalid_input(
              "{}: micro-batch {} takes another way through the ranks than {}; "
              "number those of one way one after the other",
              name_, m, m - 1);
        }
        routes.push_back({std::move(path), 0, routes.empty() ? stages_ : 0});
      }
      ++routes.back().micro_batches;
    }
    const auto ranks = static_cast<std::int32_t>(rows_.size());
    if (routes.size() == 1 && ranks > 1) {
      const Placement v = Placement::v_shape(ranks, micro_batches_);
      if (v.routes().front().ranks == routes.front().ranks) routes = v.routes();
    }
    out_.schedule.placement = Placement(ranks, std::move(routes));
    return {};
  }

  Result<Program> program_of(std::size_t row) const {
    Program program;
    for (const NamedAction& action : rows_[row]) {
      std::vector<Pass> passes;
      for (const NamedPass& named : action.passes) {
        SLUICE_ASSIGN(const Pass pass,
                      pass_of(named, static_cast<std::int32_t>(row), action.where));
        passes.push_back(pass);
      }
      program.push_back(passes.size() == 1 ? Action(passes[0]) : Action(passes[0], passes[1]));
    }
    return program;
  }

  Result<Pass> pass_of(const NamedPass& named, std::int32_t rank, Where where) const {
    const Placement& placement = out_.schedule.placement;
    std::int32_t route = 0;
    while (named.micro_batch >=
           placement.micro_batch_first(route) +
               placement.routes()[static_cast<std::size_t>(route)].micro_batches) {
      ++route;
    }
    const Placement::Holder holder = placement.holder(route, named.stage);
    if (holder.rank != rank) {
      return invalid_input(
          "{}:{}:{}: {} is on the row of rank {}, its forward pass on that of "
          "rank {}; write both on one row",
          name_, where.line, where.cell, text_of(named), rank, holder.rank);
    }
    return Pass{named.kind, holder.chunk, named.micro_batch - placement.micro_batch_first(route)};
  }

  std::vector<std::vector<NamedAction>> rows_;  // by rank
  std::string_view name_;
  std::vector<Forward> forwards_;  // by micro-batch and stage
  std::int32_t stages_ = 1;
  std::int32_t micro_batches_ = 1;
  CsvSchedule out_;
};

}  // namespace

Result<CsvSchedule> parse_csv(std::string_view text, std::string_view name) {
  SLUICE_ASSIGN(auto rows, Reader(text, name).read());
  SLUICE_ASSIGN(CsvSchedule out, Assembler(std::move(rows), name).assemble());
  Status status = check_schedule(out.schedule);
  if (!status) return in_context(name, std::move(status).error());
  auto timing = time_schedule(out.schedule, {});
  if (!timing) return in_context(name, std::move(timing).error());
  return out;
}

std::string to_csv(const Schedule& schedule) {
  const auto steps = time_schedule(schedule, {1, 1, 1, 1, 1, 0});
  std::string out;
  for (std::int32_t rank = 0; rank < schedule.placement.ranks(); ++rank) {
    const auto r = static_cast<std::size_t>(rank);
    std::size_t cell = 0;
    for (std::size_t i = 0; i < schedule.programs[r].size(); ++i) {
      const std::size_t column =
          steps ? static_cast<std::size_t>(steps->ranks[r].actions[i].start) : i;
      for (; cell < column; ++cell) out += ',';
      out += to_string(schedule.programs[r][i], schedule.placement, rank);
    }
    out += '\n';
  }
  return out;
}

}  // namespace sluice::graph
