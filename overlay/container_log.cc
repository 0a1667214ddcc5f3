#include "overlay/container_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <deque>

#include "layers/base/file.h"
#include "layers/base/json.h"

namespace surcoat::overlay {
namespace {

constexpr std::size_t kLongestLine = 16384;

std::string now() {
    timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    std::tm parts{};
    ::gmtime_r(&time.tv_sec, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                       parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, time.tv_nsec);
}

}  // namespace

void LogWriter::write_line(std::string_view text, std::string& batch) const {
    batch +=
        fmt::format("{{\"log\":{},\"stream\":\"{}\",\"time\":\"{}\"}}\n", json_quote(text), stream_, now());
}

void LogWriter::add(std::string_view bytes) {
    std::string batch;
    while (!bytes.empty()) {
        const std::size_t newline = bytes.find('\n');
        const std::size_t room = kLongestLine - rest_.size();
        const std::size_t take =
            std::min(room, newline == std::string_view::npos ? bytes.size() : newline + 1);
        rest_.append(bytes.substr(0, take));
        bytes.remove_prefix(take);
        if (rest_.back() != '\n' && rest_.size() < kLongestLine) continue;
        write_line(rest_, batch);
        rest_.clear();
    }
    // One write, so that a reader who follows seldom sees half a line.
    if (!batch.empty()) write_full(fd_, as_bytes(batch));
}

void LogWriter::flush() {
    if (rest_.empty()) return;
    std::string batch;
    write_line(rest_, batch);
    rest_.clear();
    write_full(fd_, as_bytes(batch));
}

void pump_to_log(int log_fd, UniqueFd out_pipe, UniqueFd err_pipe) {
    struct Stream {
        UniqueFd fd;
        LogWriter log;
    };
    Stream streams[2] = {{std::move(out_pipe), LogWriter(log_fd, "stdout")},
                         {std::move(err_pipe), LogWriter(log_fd, "stderr")}};
    char buffer[65536];
    while (streams[0].fd || streams[1].fd) {
        pollfd events[2] = {{streams[0].fd.get(), POLLIN, 0}, {streams[1].fd.get(), POLLIN, 0}};
        if (::poll(events, 2, -1) < 0) {
            if (errno == EINTR) continue;
            throw_errno("wait for the container's output");
        }
        for (int i = 0; i < 2; ++i) {
            if (events[i].revents == 0) continue;
            const ssize_t n = ::read(streams[i].fd.get(), buffer, sizeof buffer);
            if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
            if (n > 0) {
                streams[i].log.add({buffer, static_cast<std::size_t>(n)});
            } else {
                // End of file; EIO when the other side of a terminal has gone.
                streams[i].fd.reset();
                streams[i].log.flush();
            }
        }
    }
}

namespace {

/// Whole lines of a growing file.
class LineReader {
  public:
    explicit LineReader(UniqueFd fd) : fd_(std::move(fd)) {}

    /// Nothing if no whole line is there (yet).
    std::optional<std::string> next() {
        for (;;) {
            const std::size_t newline = buffer_.find('\n', at_);
            if (newline != std::string::npos) {
                std::string line = buffer_.substr(at_, newline - at_);
                at_ = newline + 1;
                return line;
            }
            buffer_.erase(0, at_);
            at_ = 0;
            char block[65536];
            const ssize_t n = ::read(fd_.get(), block, sizeof block);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) throw_errno("read the container's log");
            if (n == 0) return std::nullopt;
            buffer_.append(block, static_cast<std::size_t>(n));
        }
    }

  private:
    UniqueFd fd_;
    std::string buffer_;
    std::size_t at_ = 0;
};

void show(const std::string& line, int out, int err) {
    const Json json = Json::parse(line, "log line");
    const int fd = json.string_or("stream") == "stderr" ? err : out;
    if (fd >= 0) write_full(fd, as_bytes(json["log"].as_string()));
}

}  // namespace

void copy_log(const std::filesystem::path& file, int out, int err, std::optional<std::size_t> tail,
              const UniqueFd* ended) {
    auto fd = try_open_file(file, O_RDONLY);
    if (!fd) {
        throw Error(Errc::not_found, "the container has no log: it was never started detached")
            .hint(
                "what it prints goes to the terminal it was run from; `surcoat run -d` and `surcoat start` "
                "keep a log");
    }
    const UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!watch || ::inotify_add_watch(watch.get(), file.c_str(), IN_MODIFY) < 0)
        throw_errno("watch the container's log");
    LineReader lines(std::move(*fd));
    if (tail) {
        std::deque<std::string> last;
        while (auto line = lines.next()) {
            last.push_back(std::move(*line));
            if (last.size() > *tail) last.pop_front();
        }
        for (const auto& line : last) show(line, out, err);
    }
    for (bool over = ended == nullptr;;) {
        while (const auto line = lines.next()) show(*line, out, err);
        if (over) return;
        pollfd events[2] = {{watch.get(), POLLIN, 0}, {ended->get(), POLLIN, 0}};
        if (::poll(events, 2, -1) < 0 && errno != EINTR) throw_errno("follow the container's log");
        char buffer[4096];
        while (::read(watch.get(), buffer, sizeof buffer) > 0) {}
        // What was written before the end is read once more.
        over = (events[1].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) != 0;
    }
}

}  // namespace surcoat::overlay
