#include "registry/spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "layers/base/error.h"
#include "layers/base/file.h"

namespace surcoat::registry {
namespace {

UniqueFd open_unnamed(const std::filesystem::path& directory) {
    const int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) return UniqueFd(fd);
    // EISDIR: a kernel, EOPNOTSUPP: a filesystem without O_TMPFILE (NFS, some FUSE).
    if (errno != EOPNOTSUPP && errno != EISDIR)
        throw_errno(fmt::format("make a temporary file in '{}'", directory.string()));
    std::string pattern = (directory / "spool.XXXXXX").string();
    const int named = ::mkostemp(pattern.data(), O_CLOEXEC);
    if (named < 0) throw_errno(fmt::format("make a temporary file in '{}'", directory.string()));
    ::unlink(pattern.c_str());
    return UniqueFd(named);
}

}  // namespace

SpoolFile::SpoolFile(const std::filesystem::path& directory) : fd_(open_unnamed(directory)) {}

void SpoolFile::write(ByteSpan bytes) {
    hasher_.update(bytes);
    write_full(fd_.get(), bytes);
    size_ += bytes.size();
}

Digest SpoolFile::digest() const {
    return Digest::sha256(Hasher(hasher_).finish());
}

std::size_t RangeSource::read(MutableByteSpan buffer) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left_));
    if (want == 0) return 0;
    for (;;) {
        const ssize_t n = ::pread(fd_, buffer.data(), want, static_cast<off_t>(offset_));
        if (n < 0) {
            if (errno == EINTR) continue;
            throw_errno("read");
        }
        if (n == 0)
            throw Error(
                Errc::corrupt,
                fmt::format("the file became shorter while it was read: {} bytes are missing", left_));
        offset_ += static_cast<std::uint64_t>(n);
        left_ -= static_cast<std::uint64_t>(n);
        return static_cast<std::size_t>(n);
    }
}

}  // namespace surcoat::registry
