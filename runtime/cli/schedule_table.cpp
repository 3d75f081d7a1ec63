// A schedule as rows of text: time from left to right, a row a rank.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "runtime/cli/schedule_view.hpp"

namespace sluice {
namespace {

using graph::Pass;
using graph::PassKind;
using graph::Ticks;

constexpr std::size_t kColumnsMax = 1 << 14;  // of a picture; a longer one helps nobody
constexpr int kNoColour = -1;

// Background of the 256-colour palette by kind, then chunk: even ones dark, odd ones light.
constexpr std::array<std::array<int, 2>, 4> kColours{
    {{215, 223}, {78, 151}, {80, 159}, {147, 189}}};

int colour_of(const Pass& pass) {
  return kColours[static_cast<std::size_t>(pass.kind)][static_cast<std::size_t>(pass.chunk % 2)];
}

// "F3", "B0'" (chunk 1), "F3:2" (chunk 2).
std::string label_of(const Pass& pass) {
  const std::string chunk = pass.chunk == 0   ? ""
                            : pass.chunk == 1 ? "'"
                                              : fmt::format(":{}", pass.chunk);
  return fmt::format("{}{}{}", graph::letter_of(pass.kind), pass.micro_batch, chunk);
}

// One row: characters and their backgrounds.
struct Row {
  explicit Row(std::size_t columns) : text(columns, ' '), colours(columns, kNoColour) {}
  std::string text;
  std::vector<int> colours;

  // A box with its label, whose last column stays free.
  void draw(std::size_t first, std::size_t last, const std::string& label, int colour) {
    if (last <= first) return;
    const std::size_t width = last - first;
    std::fill(text.begin() + static_cast<std::ptrdiff_t>(first),
              text.begin() + static_cast<std::ptrdiff_t>(last), ' ');
    std::fill(colours.begin() + static_cast<std::ptrdiff_t>(first),
              colours.begin() + static_cast<std::ptrdiff_t>(last), colour);
    text.replace(first, std::min(label.size(), width), label, 0, width);
  }

  // Columns [first, last) as they go to the terminal.
  std::string slice(std::size_t first, std::size_t last, bool with_colours) const {
    std::string out = text.substr(first, last - first);
    if (!with_colours) return out.erase(out.find_last_not_of(' ') + 1);
    out.clear();
    int colour = kNoColour;
    for (std::size_t i = first; i < std::min(last, text.size()); ++i) {
      if (colours[i] != colour) {
        colour = colours[i];
        out += colour == kNoColour ? "\x1b[0m" : fmt::format("\x1b[38;5;16;48;5;{}m", colour);
      }
      out += text[i];
    }
    return colour == kNoColour ? out : out + "\x1b[0m";
  }
};

class Picture {
 public:
  explicit Picture(const ScheduleView& view) : view_(view) {
    std::size_t label = 0;
    Ticks shortest = 0;  // 0: none takes time
    for (const graph::Program& program : view.schedule.programs) {
      for (const graph::Action& action : program) {
        std::size_t length = 0;
        for (const Pass& pass : action.passes()) length = std::max(length, label_of(pass).size());
        label = std::max(label, length);
        const Ticks time = view.times.of(action) / static_cast<Ticks>(action.passes().size());
        if (time > 0 && (shortest == 0 || time < shortest)) shortest = time;
      }
    }
    columns_per_tick_ =
        shortest == 0 ? 0 : static_cast<double>(label + 1) / static_cast<double>(shortest);
    step_ = shortest;
  }

  [[nodiscard]] std::size_t columns() const { return column(view_.timing.makespan); }
  /// Of the shortest pass.
  [[nodiscard]] std::size_t step_columns() const { return std::max(column(step_), std::size_t{1}); }

  // The line above, a dot where each shortest pass could start, and numbers.
  [[nodiscard]] Row axis() const {
    Row row(columns() + 12);
    constexpr double kColumnsApart = 12;
    const double units = kColumnsApart / columns_per_tick_ / static_cast<double>(kTicksPerUnit);
    const auto every = static_cast<Ticks>(std::ceil(units - 1e-9)) * kTicksPerUnit;
    for (Ticks t = 0; t <= view_.timing.makespan; t += every) {
      const std::string number = units_text(t);
      row.text.replace(column(t), number.size(), number);
    }
    row.text.resize(columns() + 1, ' ');
    row.colours.resize(row.text.size());
    return row;
  }

  [[nodiscard]] Row rank(std::size_t r) const {
    Row row(columns());
    for (Ticks t = 0; t < view_.timing.makespan; t += step_) {
      const std::size_t at = column(t);
      if (at < row.text.size()) row.text[at] = '.';
    }
    const auto& spans = view_.timing.ranks[r].actions;
    for (std::size_t i = 0; i < spans.size(); ++i) draw(row, r, i, spans[i]);
    return row;
  }

 private:
  [[nodiscard]] std::size_t column(Ticks time) const {
    return static_cast<std::size_t>(static_cast<double>(time) * columns_per_tick_ + 0.5);
  }

  void draw(Row& row, std::size_t r, std::size_t i, graph::Span span) const {
    const auto passes = view_.schedule.programs[r][i].passes();
    std::size_t first = column(span.start);
    const std::size_t last = std::max(column(span.end), first + 1) - 1;
    for (std::size_t p = 0; p < passes.size(); ++p) {
      const std::size_t end = first + (last - first) / (passes.size() - p);
      row.draw(first, end, label_of(passes[p]), colour_of(passes[p]));
      first = end;
    }
  }

  const ScheduleView& view_;
  double columns_per_tick_ = 0;
  Ticks step_ = 0;
};

std::string legend(const ScheduleView& view, bool colours) {
  constexpr std::array<std::string_view, 4> kNames{"forward", "backward",
                                                   "backward, gradient of the input",
                                                   "backward, gradients of the weights"};
  std::array<bool, 4> kinds{};
  std::int32_t chunks = 1;
  for (const graph::Program& program : view.schedule.programs) {
    for (const graph::Action& action : program) {
      for (const Pass& pass : action.passes()) {
        kinds[static_cast<std::size_t>(pass.kind)] = true;
        chunks = std::max(chunks, pass.chunk + 1);
      }
    }
  }
  std::string out;
  for (std::size_t k = 0; k < kinds.size(); ++k) {
    if (!kinds[k]) continue;
    const char letter = graph::letter_of(static_cast<PassKind>(k));
    out += out.empty() ? "" : "   ";
    out += colours ? fmt::format("\x1b[38;5;16;48;5;{}m {} \x1b[0m {}", kColours[k][0], letter,
                                 kNames[k])
                   : fmt::format("{} {}", letter, kNames[k]);
  }
  if (chunks > 1) out += "\n' of the rank's second stage";
  if (chunks > 2) out += ", :2 of its third, and so on";
  return out + "\n";
}

std::string pictures(const ScheduleView& view, TableStyle style) {
  const Picture picture(view);
  const std::size_t columns = picture.columns();
  if (columns == 0) return "";
  if (columns > kColumnsMax) {
    return fmt::format("(no picture: it would be {} columns wide; --svg FILE draws one)\n\n",
                       columns);
  }
  const std::size_t margin = fmt::format("{}", view.timing.ranks.size() - 1).size() + 6;
  std::size_t width = columns;
  if (style.columns_max > margin + 20) {  // whole steps, so that rows break between passes
    const std::size_t room = style.columns_max - margin;
    width = std::min(
        width, std::max(room / picture.step_columns(), std::size_t{1}) * picture.step_columns());
  }
  std::vector<Row> rows;
  for (std::size_t r = 0; r < view.timing.ranks.size(); ++r) rows.push_back(picture.rank(r));
  const Row axis = picture.axis();
  std::string out;
  for (std::size_t first = 0; first < columns; first += width) {
    const std::size_t last = std::min(first + width, columns);
    out += fmt::format("{:{}}{}\n", "", margin, axis.slice(first, last, false));
    for (std::size_t r = 0; r < rows.size(); ++r) {
      out +=
          fmt::format("rank {:<{}}{}\n", r, margin - 5, rows[r].slice(first, last, style.colours));
    }
    out += "\n";
  }
  return out + legend(view, style.colours) + "\n";
}

std::string numbers(const ScheduleView& view) {
  std::size_t width = 6;
  for (std::int32_t r = 0; r < view.schedule.placement.ranks(); ++r) {
    width = std::max(width, stages_text(view, r).size());
  }
  std::string out = fmt::format("rank  {:{}}  {:>10}  live activations\n", "stages", width, "idle");
  for (std::size_t r = 0; r < view.timing.ranks.size(); ++r) {
    out += fmt::format(
        "{:>4}  {:{}}  {:>10}  {:>16}\n", r, stages_text(view, static_cast<std::int32_t>(r)), width,
        units_text(view.timing.ranks[r].idle), view.timing.ranks[r].peak_live_activations);
  }
  return out + "\n";
}

}  // namespace

std::string schedule_table(const ScheduleView& view, TableStyle style) {
  return fmt::format("{}\ntimes: {}\n\n{}{}{}", title_text(view), times_text(view),
                     pictures(view, style), numbers(view), summary_text(view));
}

TableStyle terminal_style() {
  if (isatty(STDOUT_FILENO) == 0) return {};
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string_view(value == nullptr ? "" : value);
  };
  winsize size{};
  const bool is_known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return {variable("NO_COLOR").empty() && variable("TERM") != "dumb",
          is_known ? size.ws_col : std::size_t{100}};
}

}  // namespace sluice
