; Word of what is final amid a run, for programs that announce outputs.

; On the first thread, tell the caller a number, if it wants to know.
define internal void @netc.notify(ptr %ctx, i64 %tid, i64 %number) noinline nounwind {
entry:
  %other = icmp ne i64 %tid, 0
  br i1 %other, label %done, label %first
first:
  %place = getelementptr %context, ptr %ctx, i64 0, i32 5
  %notify = load ptr, ptr %place, align 8
  %nobody = icmp eq ptr %notify, null
  br i1 %nobody, label %done, label %tell
tell:
  call void %notify(ptr %ctx, i64 %number)
  br label %done
done:
  ret void
}
