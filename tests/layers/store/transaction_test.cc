#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <random>

#include "layers/base/error.h"
#include "layers/store/database.h"
#include "tests/layers/store/store_fixture.h"

using namespace surcoat;
using namespace surcoat::test;

TEST_CASE("what a transaction stages is visible to nobody before commit, and to everybody after it",
          "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    Store other = temp.open();
    Transaction tx(store, "test");
    const DiffId layer = stage_files(tx, {{"a", "hello"}, {"b", "world"}});
    const ObjectId object = object_of("hello");
    CHECK_FALSE(other.catalogue().layer(layer));
    CHECK_FALSE(other.catalogue().has_object(object));
    CHECK_FALSE(std::filesystem::exists(store.object_path(object)));
    const std::int64_t before = other.catalogue().generation();
    tx.commit();
    CHECK(other.catalogue().generation() == before + 1);
    REQUIRE(other.catalogue().layer(layer));
    CHECK(other.catalogue().layer(layer)->content_bytes == 10);
    CHECK(other.catalogue().layer(layer)->entries == 2);
    CHECK(read_file(other.open_object(object).get()) == "hello");
    const auto st = lstat_path(store.object_path(object));
    CHECK((st->st_mode & 07777) == 0444);
    CHECK(fsck_all(other).empty());
    CHECK_THROWS_AS(tx.commit(), Error);
}

TEST_CASE("a layer's archive is made again with its DiffId, and its tree is what was stored",
          "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    Transaction tx(store, "test");
    const std::string large(9 << 20, 'x');
    std::vector<Entry> entries = {add("dir", directory()),
                                  add("dir/empty", file("")),
                                  add("dir/large", file(large)),
                                  hardlink("dir/other", "dir/large"),
                                  add("dir/small", file("small")),
                                  whiteout("gone"),
                                  opaque("hidden"),
                                  add("link", symlink("dir/small"))};
    tx.add_object(as_bytes(large));
    tx.add_object(as_bytes("small"));
    const DiffId id = tx.add_layer(entries);
    tx.commit();
    StringSink archive;
    store.write_archive(id, archive);
    CHECK(Digest::of(archive.text) == id.digest);
    CHECK(archive.text.size() == store.catalogue().layer(id)->archive_bytes);
    const auto tree = store.tree(std::vector{id});
    REQUIRE(tree->find("dir/other") != nullptr);
    CHECK(tree->find("dir/other")->inode == tree->find("dir/large")->inode);
    CHECK(tree->find("dir/large")->inode->object == object_of(large));
    CHECK(store.tree(std::vector{id}).get() == tree.get());
    CHECK(fsck_all(store).empty());
}

TEST_CASE("a transaction that is not committed leaves nothing", "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    {
        Transaction tx(store, "test");
        stage_files(tx, {{"a", "hello"}, {"large", std::string(5 << 20, 'y')}});
        tx.add_blob("blob", "text/plain");
        auto unfinished = tx.open_object();
        unfinished->write(as_bytes(std::string(6 << 20, 'z')));
        CHECK(files_in(store.objects_directory()) == 2);
    }
    CHECK(files_in(store.objects_directory()) == 0);
    CHECK(files_in(store.path("tx")) == 0);
    CHECK(fsck_all(store).empty());
}

TEST_CASE("when the catalogue's part of a commit fails, nothing was published and nothing is left",
          "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    Transaction tx(store, "test");
    const DiffId layer = stage_files(tx, {{"a", "hello"}});
    const Digest blob = tx.add_blob("blob", "text/plain");
    CHECK_THROWS_WITH(tx.commit([](Catalogue::Write&) { throw Error(Errc::conflict, "the name is taken"); }),
                      "the name is taken");
    CHECK_FALSE(store.catalogue().layer(layer));
    CHECK_FALSE(store.has_blob(blob));
    CHECK(files_in(store.objects_directory()) == 0);
    CHECK(files_in(store.path("blobs")) == 0);
    CHECK(fsck_all(store).empty());
}

TEST_CASE("objects that no layer refers to are not published", "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    Transaction tx(store, "test");
    tx.add_object(as_bytes("nobody's"));
    stage_files(tx, {{"a", "somebody's"}});
    tx.commit();
    CHECK_FALSE(store.catalogue().has_object(object_of("nobody's")));
    CHECK(files_in(store.objects_directory()) == 1);
    CHECK(fsck_all(store).empty());
}

TEST_CASE("two transactions that stage the same content publish it once", "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    Store other = temp.open();
    Transaction first(store, "first");
    Transaction second(other, "second");
    const DiffId a = stage_files(first, {{"a", "same"}, {"x", "first's"}});
    const DiffId b = stage_files(second, {{"b", "same"}, {"x", "second's"}});
    CHECK(files_in(store.objects_directory()) == 4);
    first.commit();
    second.commit();
    CHECK(files_in(store.objects_directory()) == 3);
    CHECK(store.catalogue().layer(a));
    CHECK(store.catalogue().layer(b));
    CHECK(fsck_all(store).empty());
}

TEST_CASE("content that is in the store is not written again, nor is a layer", "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    commit_files(store, {{"a", "hello"}, {"b", "world"}});
    Transaction tx(store, "test");
    tx.add_object(as_bytes("hello"));
    CHECK(files_in(store.objects_directory()) == 2);
    stage_files(tx, {{"a", "hello"}, {"b", "world"}});
    tx.commit();
    CHECK(store.catalogue().layers().size() == 1);
    CHECK(fsck_all(store).empty());
}

TEST_CASE("a root filesystem rebuilt ten times with other times costs no object again", "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    Files files;
    std::mt19937 random(7);
    for (int i = 0; i < 300; ++i)
        files["f" + std::to_string(i)] =
            std::string(random() % 20'000 + 1, static_cast<char>('a' + i % 26)) + std::to_string(i);
    commit_files(store, files);
    const std::uint64_t objects = du(store.objects_directory());
    for (int build = 1; build <= 10; ++build) commit_files(store, files, 1'600'000'000 + build);
    CHECK(store.catalogue().layers().size() == 11);
    CHECK(du(store.objects_directory()) == objects);
    CHECK(files_in(store.objects_directory()) == 300);
    CHECK(fsck_all(store).empty());
}

TEST_CASE("runs of zeros become holes, in memory, streamed, and copied from a file", "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    std::string content(20 << 20, '\0');
    content.replace(5 << 20, 5, "hello");
    content.replace((20 << 20) - 3, 3, "end");
    const ObjectId want = object_of(content);
    Transaction tx(store, "test");
    SECTION("in memory") {
        CHECK(tx.add_object(as_bytes(content)) == want);
    }
    SECTION("streamed") {
        const auto writer = tx.open_object();
        writer->write(as_bytes(content).first(100));
        writer->skip((5 << 20) - 100);
        writer->write(as_bytes(content).subspan(5 << 20));
        CHECK(writer->finish() == want);
    }
    SECTION("copied") {
        const std::filesystem::path path = temp.directory.path() / "sparse";
        const UniqueFd fd = open_file(path, O_RDWR | O_CREAT);
        pwrite_full(fd.get(), as_bytes("hello"), 5 << 20);
        pwrite_full(fd.get(), as_bytes("end"), (20 << 20) - 3);
        CHECK(tx.add_object_from(fd.get(), content.size()) == want);
        CHECK_THROWS_WITH(tx.add_object_from(fd.get(), content.size() - 1),
                          Catch::Contains("changed while it was read"));
        CHECK_THROWS_WITH(tx.add_object_from(fd.get(), content.size() + 1),
                          Catch::Contains("changed while it was read"));
    }
    Inode inode = file(content);
    tx.add_layer({add("sparse", inode)});
    tx.commit();
    CHECK(lstat_path(store.object_path(want))->st_blocks * 512 <= 64 << 10);
    CHECK(fsck_all(store).empty());
}

TEST_CASE("ten thousand lookups of known contents write nothing and take a fraction of a second",
          "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    Files files;
    for (int i = 0; i < 2'000; ++i) files["f" + std::to_string(i)] = "content " + std::to_string(i);
    const auto t0 = std::chrono::steady_clock::now();
    commit_files(store, files);
    const auto t1 = std::chrono::steady_clock::now();
    std::chrono::steady_clock::duration looked{};
    for (int round = 0; round < 5; ++round) {
        Transaction tx(store, "test");
        const auto begin = std::chrono::steady_clock::now();
        for (const auto& [path, content] : files) tx.add_object(as_bytes(content));
        looked += std::chrono::steady_clock::now() - begin;
    }
    const auto ms = [](auto d) {
        return static_cast<long>(std::chrono::duration_cast<std::chrono::milliseconds>(d).count());
    };
    std::printf("store: 2,000 objects staged and committed in %ld ms; 10,000 looked up in %ld ms\n",
                ms(t1 - t0), ms(looked));
    CHECK(files_in(store.objects_directory()) == 2'000);
}

TEST_CASE("an object that was lost on disk is mended by whoever brings it again", "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    Transaction late(store, "began before");
    late.add_object(as_bytes("hello"));  // not there yet: staged
    commit_files(store, {{"a", "hello"}});
    std::filesystem::remove(store.object_path(object_of("hello")));
    CHECK_THROWS_WITH(store.open_object(object_of("hello")),
                      Catch::Contains("has a row in the catalogue but no file"));
    CHECK_THAT(fsck_errors(store), Catch::Contains("is missing"));
    late.add_layer({add("b", file("hello"))});
    late.commit();
    CHECK(fsck_all(store).empty());
}

TEST_CASE("a layer cannot name content that was never stored", "[layers][store]") {
    TempStore temp;
    Store store = temp.open();
    Transaction tx(store, "test");
    CHECK_THROWS_WITH(tx.add_layer({add("a", file("never"))}),
                      Catch::Contains("the content of the layer's 'a', is not in the store"));
}

TEST_CASE("fast durability marks what it did not sync, and verifies it once after another boot",
          "[layers][store]") {
    TempStore temp;
    Store store = temp.open(Durability::fast);
    const DiffId good = commit_files(store, {{"a", "good"}});
    const DiffId bad = commit_files(store, {{"b", "lost in the page cache"}});
    Database& database = store.catalogue().database();
    CHECK(database.integer("SELECT count(*) FROM objects WHERE unsynced IS NOT NULL") == 2);
    CHECK_NOTHROW(store.toc(bad));

    SECTION("after another boot, damage is found before anything is served") {
        database.run("UPDATE objects SET unsynced = 'an earlier boot'");
        database.run("UPDATE layers SET unsynced_boot = 'an earlier boot'");
        const std::filesystem::path object = store.object_path(object_of("lost in the page cache"));
        std::filesystem::resize_file(object, 0);
        Store again = temp.open();
        CHECK_NOTHROW(again.tree(std::vector{good}));
        CHECK(again.catalogue().database().integer(
                  "SELECT count(*) FROM layers WHERE unsynced_boot IS NOT NULL") == 1);
        try {
            again.tree(std::vector{bad});
            FAIL("served a damaged layer");
        } catch (const Error& e) {
            CHECK(e.code() == Errc::corrupt);
            CHECK_THAT(e.what(), Catch::Contains("did not survive") && Catch::Contains("durability 'fast'"));
            CHECK_FALSE(e.hint().empty());
        }
        StringSink nowhere;
        CHECK_THROWS_AS(again.write_archive(bad, nowhere), Error);
        CHECK_THROWS_AS(again.erofs_view(std::vector{bad}), Error);
    }
    SECTION("what a full transaction builds on it becomes durable with it") {
        Store full = temp.open();
        commit_files(full, {{"c", "good"}});
        CHECK(database.integer("SELECT unsynced IS NULL FROM objects WHERE id = ?", object_of("good")) == 1);
        CHECK(database.integer("SELECT count(*) FROM objects WHERE unsynced IS NOT NULL") == 1);
    }
    SECTION("content that a full transaction wrote itself is not replaced by an unsynced one") {
        Store full = temp.open();
        Transaction tx(full, "test");
        const DiffId mine = stage_files(tx, {{"m", "both bring this"}});
        commit_files(store, {{"n", "both bring this"}});
        tx.commit();
        CHECK(full.catalogue().layer(mine));
        CHECK(database.integer("SELECT unsynced IS NULL FROM objects WHERE id = ?",
                               object_of("both bring this")) == 1);
        CHECK(fsck_all(full).empty());
    }
}
