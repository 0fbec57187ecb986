"""A bot on python-telegram-bot that does one of everything: ptb_bot.py URL TOKEN.

What it is told to do wrong, it reports in the chat.
"""

import sys

from telegram import BotCommand, InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity, Update
from telegram.error import BadRequest, Forbidden, RetryAfter
from telegram.ext import Application, CallbackQueryHandler, CommandHandler, ContextTypes, MessageHandler, filters

Context = ContextTypes.DEFAULT_TYPE
KEYBOARD = InlineKeyboardMarkup(
    [[InlineKeyboardButton("Yes", callback_data="yes"), InlineKeyboardButton("Docs", url="https://example.org")]]
)


async def start(update: Update, _: Context) -> None:
    entities = [
        MessageEntity(MessageEntity.BOLD, 6, 4),
        MessageEntity(MessageEntity.CODE, 11, 4),
        MessageEntity(MessageEntity.TEXT_LINK, 19, 4, url="https://example.org/a"),
    ]
    await update.message.reply_text("Hello bold code 👍 link", entities=entities, reply_markup=KEYBOARD)


async def styles(update: Update, _: Context) -> None:
    """The same text three times: with entities, and as the library writes it in both languages."""
    parts = [
        ("_*[]()~`>#+-=|{}.!\\ & <b> 👩‍👩‍👧 ", None),
        ("bold *", "bold"), (" ", None), ("italic _", "italic"), (" 漢字 ", None),
        ("under", "underline"), (" ", None), ("s~", "strikethrough"), (" ", None), ("|sp|", "spoiler"),
        (" ", None), ("c`\\ <i>", "code"), ("\n", None), ("let x = `1`;", "pre"), ("\n", None),
        ("one.\ntwo", "blockquote"), ("\nend ", None), ("👍", "custom_emoji"),
    ]
    text, entities = "", []
    for part, kind in parts:
        if kind:
            offset, length = (len(s.encode("utf-16-le")) // 2 for s in (text, part))
            emoji = "5368324170671202286" if kind == "custom_emoji" else None
            entities.append(MessageEntity(kind, offset, length, custom_emoji_id=emoji))
        text += part
    sent = await update.message.reply_text(text, entities=entities)
    await update.message.reply_text(sent.text_markdown_v2, parse_mode="MarkdownV2")
    await update.message.reply_text(sent.text_html, parse_mode="HTML")


async def pressed(update: Update, _: Context) -> None:
    await update.callback_query.answer("Noted")
    await update.callback_query.edit_message_text("You said <b>yes</b>", parse_mode="HTML")


async def stream(update: Update, _: Context) -> None:
    await update.message.reply_chat_action("typing")
    answer = await update.message.reply_text("…", do_quote=True)
    for text in ["one", "one two", "one two three"]:
        await answer.edit_text(text)


async def draft(update: Update, context: Context) -> None:
    await context.bot.send_message_draft(update.message.chat_id, 7, "ha")
    await context.bot.send_message_draft(update.message.chat_id, 7, "half", api_kwargs={"can_stop": True})
    await update.message.reply_text("half and whole")


async def delete(update: Update, _: Context) -> None:
    answer = await update.message.reply_text("soon gone")
    await answer.delete()


async def setup(update: Update, context: Context) -> None:
    await context.bot.set_my_commands([BotCommand("start", "Begin")])
    commands = await context.bot.get_my_commands()
    chat = await context.bot.get_chat(update.message.chat_id)
    member = await context.bot.get_chat_member(update.message.chat_id, update.message.from_user.id)
    await update.message.reply_text(f"{commands[0].command} {chat.type} {member.status}")


async def wrong(update: Update, context: Context) -> None:
    """Breaks the rule that is named and says what the client makes of it."""
    try:
        match context.args[0]:
            case "markdown":
                await update.message.reply_text("1. unescaped", parse_mode="MarkdownV2")
            case "same":
                answer = await update.message.reply_text("same")
                await answer.edit_text("same")
            case _:
                await update.message.reply_text("sent")
    except RetryAfter as error:
        seconds = getattr(error, "_retry_after", None) or error.retry_after
        await update.message.reply_text(f"wait {int(getattr(seconds, 'total_seconds', lambda: seconds)())}")
    except BadRequest as error:
        await update.message.reply_text(f"refused: {error.message}")
    except Forbidden as error:
        print(error, file=sys.stderr)


async def document(update: Update, _: Context) -> None:
    content = await (await update.message.document.get_file()).download_as_bytearray()
    sent = await update.message.reply_document(
        bytes(content).upper(), filename="upper.txt", caption="_twice_", parse_mode="MarkdownV2"
    )
    await update.message.reply_document(sent.document.file_id)


async def photo(update: Update, _: Context) -> None:
    content = bytes(await (await update.message.photo[-1].get_file()).download_as_bytearray())
    await update.message.reply_photo(content, caption=f"{len(content)} bytes")


async def voice(update: Update, _: Context) -> None:
    content = bytes(await (await update.message.voice.get_file()).download_as_bytearray())
    await update.message.reply_voice(content, filename="echo.ogg", duration=3)


async def edited(update: Update, _: Context) -> None:
    await update.edited_message.reply_text(f"changed to {update.edited_message.text}")


async def topic(update: Update, _: Context) -> None:
    if update.message.is_topic_message:
        await update.message.reply_text(f"in topic {update.message.message_thread_id}")


def main(url: str, token: str) -> None:
    builder = Application.builder().token(token).base_url(f"{url}/bot").base_file_url(f"{url}/file/bot")
    app = builder.build()
    new = filters.UpdateType.MESSAGE
    for name, handler in {
        "start": start, "stream": stream, "draft": draft, "delete": delete, "setup": setup, "wrong": wrong, "styles": styles,
    }.items():
        app.add_handler(CommandHandler(name, handler, filters=new))
    app.add_handler(CallbackQueryHandler(pressed, pattern="^yes$"))
    app.add_handler(MessageHandler(filters.UpdateType.EDITED_MESSAGE, edited))
    app.add_handler(MessageHandler(filters.Document.ALL, document))
    app.add_handler(MessageHandler(filters.PHOTO, photo))
    app.add_handler(MessageHandler(filters.VOICE, voice))
    app.add_handler(MessageHandler(filters.TEXT, topic))
    app.run_polling(stop_signals=None)


main(*sys.argv[1:])
