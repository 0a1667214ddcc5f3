#include "registry/members.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <vector>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/compression.h"
#include "layers/tar.h"

namespace surcoat::registry {
namespace {

constexpr std::size_t kSniffBytes = 6;
constexpr int kLinkDepth = 8;
/// A compressed archive that grows more than this after kBombStart bytes is no image.
constexpr std::uint64_t kExpansionLimit = 1000;
constexpr std::uint64_t kBombStart = std::uint64_t{64} << 20;

/// A file that owns its descriptor.
class FileSource final : public ByteSource {
  public:
    FileSource(UniqueFd fd, std::uint64_t size) : fd_(std::move(fd)), range_(fd_.get(), 0, size) {}
    std::size_t read(MutableByteSpan buffer) override { return range_.read(buffer); }

  private:
    UniqueFd fd_;
    RangeSource range_;
};

/// First some bytes that were read already, then the rest; counts them.
class Replayed final : public ByteSource {
  public:
    Replayed(std::vector<std::byte> first, ByteSource& rest)
        : first_(std::move(first)), head_(first_), rest_(rest) {}
    std::size_t read(MutableByteSpan buffer) override {
        std::size_t n = head_.read(buffer);
        if (n == 0) n = rest_.read(buffer);
        count_ += n;
        return n;
    }
    std::uint64_t count() const { return count_; }

  private:
    std::vector<std::byte> first_;
    MemorySource head_;
    ByteSource& rest_;
    std::uint64_t count_ = 0;
};

/// Copies what passes through into the spool and stops bombs.
class Spooling final : public ByteSource {
  public:
    Spooling(ByteSource& plain, const Replayed& compressed, SpoolFile& spool)
        : plain_(plain), compressed_(compressed), spool_(spool) {}
    std::size_t read(MutableByteSpan buffer) override {
        const std::size_t n = plain_.read(buffer);
        spool_.write(buffer.first(n));
        if (spool_.size() > kBombStart && spool_.size() / kExpansionLimit > compressed_.count()) {
            throw Error(
                Errc::invalid,
                fmt::format("the archive grows more than {} times when it is decompressed ({} bytes to {})",
                            kExpansionLimit, compressed_.count(), spool_.size()))
                .hint("if that is right, decompress it first and load the plain tar");
        }
        return n;
    }

  private:
    ByteSource& plain_;
    const Replayed& compressed_;
    SpoolFile& spool_;
};

/// The member that a link in `from`'s directory points at, within the archive; "" if it leads out of it.
std::string resolve_link(const std::string& from, const std::string& target) {
    if (target.empty() || target.front() == '/') return {};
    std::vector<std::string> parts;
    const auto walk = [&](const std::string& path) {
        for (std::size_t at = 0; at <= path.size();) {
            const std::size_t slash = std::min(path.find('/', at), path.size());
            const std::string part = path.substr(at, slash - at);
            at = slash + 1;
            if (part.empty() || part == ".") continue;
            if (part != "..") {
                parts.push_back(part);
            } else if (parts.empty()) {
                return false;
            } else {
                parts.pop_back();
            }
        }
        return true;
    };
    const std::size_t slash = from.rfind('/');
    if (!walk(slash == std::string::npos ? std::string() : from.substr(0, slash)) || !walk(target)) return {};
    std::string joined;
    for (const std::string& part : parts) joined += (joined.empty() ? "" : "/") + part;
    return joined;
}

}  // namespace

std::string Members::read(const std::string& name, std::uint64_t limit) const {
    const auto bytes = size(name);
    if (bytes && *bytes > limit) {
        throw Error(Errc::invalid,
                    fmt::format("'{}' has {} bytes, at most {} are allowed", name, *bytes, limit));
    }
    return read_all(*open(name), limit);
}

// ---- directory

namespace {

struct OpenedMember {
    UniqueFd fd;
    std::uint64_t size = 0;
};

std::optional<OpenedMember> open_member(const RootDir& root, const std::string& name) {
    // O_NONBLOCK: a fifo must not hang us.
    auto fd = root.try_open_without_symlinks(name, O_RDONLY | O_NONBLOCK);
    if (!fd) return std::nullopt;
    const struct stat st = stat_fd(fd->get());
    if (!S_ISREG(st.st_mode)) throw Error(Errc::invalid, fmt::format("'{}' is not a regular file", name));
    return OpenedMember{std::move(*fd), static_cast<std::uint64_t>(st.st_size)};
}

[[noreturn]] void missing(const std::string& name) {
    throw Error(Errc::corrupt, fmt::format("'{}' is missing", name))
        .hint("the image is incomplete: copy or save it again");
}

}  // namespace

std::optional<std::uint64_t> DirectoryMembers::size(const std::string& name) const {
    const auto member = open_member(root_, name);
    if (!member) return std::nullopt;
    return member->size;
}

std::unique_ptr<ByteSource> DirectoryMembers::open(const std::string& name) const {
    auto member = open_member(root_, name);
    if (!member) missing(name);
    return std::make_unique<FileSource>(std::move(member->fd), member->size);
}

// ---- archive

ArchiveMembers::ArchiveMembers(int fd, const std::filesystem::path& spool_directory) : fd_(fd) {
    FdSource raw(fd);
    std::vector<std::byte> first(kSniffBytes);
    first.resize(read_full(raw, first));
    const Compression compression = sniff_compression(first);
    const struct stat st = stat_fd(fd);
    if (S_ISREG(st.st_mode) && compression == Compression::none) {
        RangeSource whole(fd, 0, static_cast<std::uint64_t>(st.st_size));
        read_index(whole);
        return;
    }
    spool_.emplace(spool_directory);
    Replayed compressed(std::move(first), raw);
    const auto plain = decompress(compressed, compression);
    Spooling spooling(*plain, compressed, *spool_);
    read_index(spooling);
    fd_ = spool_->fd();
}

void ArchiveMembers::read_index(ByteSource& archive) {
    TarReader tar(archive, nullptr);
    while (const auto member = tar.next()) {
        const std::string name = normalise_path(member->path);
        Member found;
        if (member->is_hardlink) {
            found.kind = Member::Kind::link;
            found.target = normalise_path(member->link_name);
        } else if (member->inode.type == FileType::symlink) {
            found.kind = Member::Kind::link;
            found.target = resolve_link(name, member->inode.link_target);
        } else if (member->inode.type == FileType::regular) {
            if (member->content_bytes != member->inode.size) {
                throw Error(
                    Errc::unsupported,
                    fmt::format("member '{}' is a sparse file, which archives of images do not have", name))
                    .hint("make the archive without tar's --sparse");
            }
            found.kind = Member::Kind::file;
            found.offset = tar.position();
            found.size = member->inode.size;
        } else if (member->inode.type == FileType::directory) {
            continue;
        }
        if (!members_.emplace(name, std::move(found)).second) {
            throw Error(Errc::invalid, fmt::format("the archive has two members '{}'", name))
                .hint("which one is meant cannot be known: make the archive again");
        }
    }
}

const ArchiveMembers::Member* ArchiveMembers::find(const std::string& name) const {
    std::string at = name;
    for (int depth = 0; depth <= kLinkDepth; ++depth) {
        const auto found = members_.find(at);
        if (found == members_.end()) {
            if (depth == 0) return nullptr;
            throw Error(Errc::corrupt,
                        fmt::format("member '{}' is a link to '{}', which is not in the archive", name, at));
        }
        const Member& member = found->second;
        if (member.kind == Member::Kind::file) return &member;
        if (member.kind == Member::Kind::other)
            throw Error(Errc::invalid, fmt::format("member '{}' is not a regular file", at));
        if (!follow_links_)
            throw Error(Errc::invalid, fmt::format("member '{}' is a link; an image layout has none", at));
        if (member.target.empty())
            throw Error(Errc::invalid,
                        fmt::format("member '{}' is a link that leads out of the archive", at));
        at = member.target;
    }
    throw Error(Errc::invalid,
                fmt::format("member '{}' is a link to a link, {} times over", name, kLinkDepth));
}

std::optional<std::uint64_t> ArchiveMembers::size(const std::string& name) const {
    const Member* member = find(name);
    if (member == nullptr) return std::nullopt;
    return member->size;
}

std::unique_ptr<ByteSource> ArchiveMembers::open(const std::string& name) const {
    const Member* member = find(name);
    if (member == nullptr) missing(name);
    return std::make_unique<RangeSource>(fd_, member->offset, member->size);
}

}  // namespace surcoat::registry
