"""A teacher's answers on disk: ask once, train as often as you like.

`TeacherCache.build` asks the teacher, in this process or in several on Ray, and writes shards that
survive being killed; `TeacherCache.dataset` feeds them to `Distiller.fit`.
"""

from tfdistill.answers.teacher_cache import TeacherCache

__all__ = ["TeacherCache"]
