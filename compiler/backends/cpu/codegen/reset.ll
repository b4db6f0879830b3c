; The initial state of a network that keeps one from run to run.

; 0, or the status that says why a workspace can't be worked with, or has no state.
define internal i32 @netc.stateful(ptr %workspace) noinline nounwind {
entry:
  %usable = call i32 @netc.usable(ptr %workspace)
  %fits = icmp eq i32 %usable, 0
  br i1 %fits, label %state, label %done
state:
  %mark = getelementptr i8, ptr %workspace, {{size}} 16
  %code = load i64, ptr %mark, align 8
  %ours = icmp eq i64 %code, {{code}}
  %status = select i1 %ours, i32 0, i32 {{no_state}}
  ret i32 %status
done:
  ret i32 %usable
}

define i32 @{{prefix}}_reset(ptr %workspace) nounwind {
entry:
  %usable = call i32 @netc.usable(ptr %workspace)
  %fits = icmp eq i32 %usable, 0
  br i1 %fits, label %copy, label %done
copy:
  %weights = call ptr @netc.weights.of(ptr %workspace)
  %initial = getelementptr i8, ptr %weights, {{size}} {{initial}}
  %state = getelementptr i8, ptr %workspace, {{size}} {{state}}
  call void @llvm.memcpy.p0.p0.{{size}}(ptr %state, ptr %initial, {{size}} {{bytes}}, i1 false)
  %mark = getelementptr i8, ptr %workspace, {{size}} 16
  store i64 {{code}}, ptr %mark, align 8
  br label %done
done:
  ret i32 %usable
}
