; Time stamps between kernels, for profiles. `program.py` replaces the word in double braces.

declare i32 @clock_gettime(i32, ptr)

; profile[index] = now, on the first thread, if there is a profile.
define internal void @netc.stamp(ptr %profile, i64 %tid, i64 %index) noinline nounwind {
entry:
  %time = alloca { i64, i64 }, align 8
  %off = icmp eq ptr %profile, null
  %other = icmp ne i64 %tid, 0
  %skip = or i1 %off, %other
  br i1 %skip, label %done, label %record
record:
  %status = call i32 @clock_gettime(i32 {{monotonic}}, ptr %time)
  %seconds = load i64, ptr %time, align 8
  %rest = getelementptr i8, ptr %time, i64 8
  %nanoseconds = load i64, ptr %rest, align 8
  %scaled = mul i64 %seconds, 1000000000
  %total = add i64 %scaled, %nanoseconds
  %place = getelementptr i64, ptr %profile, i64 %index
  store i64 %total, ptr %place, align 8
  br label %done
done:
  ret void
}
