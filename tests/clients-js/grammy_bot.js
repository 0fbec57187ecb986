// A bot on grammY that does one of everything: grammy_bot.js URL TOKEN.
// What it is told to do wrong, it reports in the chat.

import { Bot, GrammyError, InlineKeyboard, InputFile } from "grammy";

const [url, token] = process.argv.slice(2);
const bot = new Bot(token, { client: { apiRoot: url } });

bot.command("start", (ctx) =>
  ctx.reply("Hello bold code 👍 link", {
    entities: [
      { type: "bold", offset: 6, length: 4 },
      { type: "code", offset: 11, length: 4 },
      { type: "text_link", offset: 19, length: 4, url: "https://example.org/a" },
    ],
    reply_markup: new InlineKeyboard().text("Yes", "yes").url("Docs", "https://example.org"),
  }),
);

bot.callbackQuery("yes", async (ctx) => {
  await ctx.answerCallbackQuery("Noted");
  await ctx.editMessageText("You said <b>yes</b>", { parse_mode: "HTML" });
});

bot.command("stream", async (ctx) => {
  await ctx.replyWithChatAction("typing");
  const answer = await ctx.reply("…", { reply_parameters: { message_id: ctx.msg.message_id } });
  for (const text of ["one", "one two", "one two three"]) {
    await ctx.api.editMessageText(ctx.chat.id, answer.message_id, text);
  }
});

bot.command("draft", async (ctx) => {
  await ctx.api.sendMessageDraft(ctx.chat.id, 7, "ha");
  await ctx.api.sendMessageDraft(ctx.chat.id, 7, "half", { can_stop: true });
  await ctx.reply("half and whole");
});

bot.command("delete", async (ctx) => {
  const answer = await ctx.reply("soon gone");
  await ctx.api.deleteMessage(ctx.chat.id, answer.message_id);
});

bot.command("setup", async (ctx) => {
  await ctx.api.setMyCommands([{ command: "start", description: "Begin" }]);
  const [first] = await ctx.api.getMyCommands();
  const chat = await ctx.getChat();
  const member = await ctx.getAuthor();
  await ctx.reply(`${first.command} ${chat.type} ${member.status}`);
});

// Breaks the rule that is named and says what the client makes of it.
bot.command("wrong", async (ctx) => {
  try {
    if (ctx.match === "markdown") {
      await ctx.reply("1. unescaped", { parse_mode: "MarkdownV2" });
    } else if (ctx.match === "same") {
      const answer = await ctx.reply("same");
      await ctx.api.editMessageText(ctx.chat.id, answer.message_id, "same");
    } else {
      await ctx.reply("sent");
    }
  } catch (error) {
    if (!(error instanceof GrammyError)) throw error;
    if (error.error_code === 429) await ctx.reply(`wait ${error.parameters.retry_after}`);
    else if (error.error_code === 400) await ctx.reply(`refused: ${error.description}`);
    else console.error(error.description);
  }
});

async function content(ctx) {
  const file = await ctx.getFile();
  const answer = await fetch(`${url}/file/bot${token}/${file.file_path}`);
  return Buffer.from(await answer.arrayBuffer());
}

bot.on("message:document", async (ctx) => {
  const upper = (await content(ctx)).toString().toUpperCase();
  const file = new InputFile(Buffer.from(upper), "upper.txt");
  const sent = await ctx.replyWithDocument(file, { caption: "_twice_", parse_mode: "MarkdownV2" });
  await ctx.replyWithDocument(sent.document.file_id);
});

bot.on("message:photo", async (ctx) => {
  const photo = await content(ctx);
  await ctx.replyWithPhoto(new InputFile(photo, "same.png"), { caption: `${photo.length} bytes` });
});

bot.on("message:voice", async (ctx) => {
  await ctx.replyWithVoice(new InputFile(await content(ctx), "echo.ogg"), { duration: 3 });
});

bot.on("edited_message:text", (ctx) => ctx.reply(`changed to ${ctx.editedMessage.text}`));

bot.on("message:is_topic_message", (ctx) =>
  ctx.reply(`in topic ${ctx.msg.message_thread_id}`, { message_thread_id: ctx.msg.message_thread_id }),
);

// One that fails must not end the bot.
bot.catch((error) => console.error(error.error));
await bot.start();
